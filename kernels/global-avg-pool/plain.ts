import type { ChannelShape } from '../lib/channels.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';

/** One invocation per mean. */
export function forwardPlain({ batch, channels, plane, f16 }: ChannelShape, device: DeviceProfile): Launch[] {
  const kernel = perInvocation(
    {
      name: 'global_avg_pool.forward/plain',
      bindings: [input('x'), output('y')],
      uniforms: { plane: u32(plane) },
      count: batch * channels,
      body: /* wgsl */ `
  var sum = 0.0;
  for (var p = 0u; p < params.plane; p++) { sum += x[i * params.plane + p]; }
  y[i] = sum / f32(params.plane);`,
      cost: { flops: batch * channels * plane, bytes: 4 * batch * channels * plane },
    },
    device,
  );
  return inF16([kernel], f16);
}

/** One invocation per element. */
export function gradientPlain(
  { batch, channels, plane, f16, pending }: ChannelShape & { pending: boolean },
  device: DeviceProfile,
): Launch[] {
  const kernel = perInvocation(
    {
      name: 'global_avg_pool.gradient/plain',
      bindings: [input('dy'), ...(pending ? [input('pending')] : []), output('dx')],
      uniforms: { plane: u32(plane) },
      count: batch * channels * plane,
      body: `dx[i] = dy[i / params.plane] / f32(params.plane)${pending ? ' + pending[i]' : ''};`,
      cost: { flops: pending ? batch * channels * plane : 0, bytes: (pending ? 8 : 4) * batch * channels * plane },
    },
    device,
  );
  return inF16([kernel], f16);
}
