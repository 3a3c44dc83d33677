import type { ChannelShape } from '../lib/channels.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';

/** One invocation per element. */
export function forwardPlain({ batch, channels, plane, f16 }: ChannelShape, device: DeviceProfile): Launch[] {
  const n = batch * channels * plane;
  const kernel = perInvocation(
    {
      name: 'scale_channels.forward/plain',
      bindings: [input('x'), input('gate'), output('y')],
      uniforms: { plane: u32(plane) },
      count: n,
      body: 'y[i] = x[i] * gate[i / params.plane];',
      cost: { flops: n, bytes: 8 * n },
    },
    device,
  );
  return inF16([kernel], f16);
}

/** One invocation per image and channel. */
export function gradientPlain({ batch, channels, plane, f16 }: ChannelShape, device: DeviceProfile): Launch[] {
  const n = batch * channels * plane;
  const kernel = perInvocation(
    {
      name: 'scale_channels.gradient/plain',
      bindings: [input('x'), input('gate'), input('dy'), output('dx'), output('dgate')],
      uniforms: { plane: u32(plane) },
      count: batch * channels,
      body: /* wgsl */ `
  var sum = 0.0;
  for (var j = i * params.plane; j < (i + 1u) * params.plane; j++) {
    let d = dy[j];
    dx[j] = d * gate[i];
    sum += d * x[j];
  }
  dgate[i] = sum;`,
      cost: { flops: 3 * n, bytes: 12 * n },
    },
    device,
  );
  return inF16([kernel], f16);
}
