import type { DeviceProfile } from '../lib/device.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';
import type { CumsumProblem } from './problem.ts';

/** One invocation per line. */
export function cumsumPlain({ outer, length, inner, reversed }: CumsumProblem, device: DeviceProfile): Launch[] {
  const n = outer * length * inner;
  const kernel = perInvocation(
    {
      name: 'cumsum/plain',
      bindings: [input('x'), output('y')],
      uniforms: { length: u32(length), inner: u32(inner), reversed: u32(reversed ? 1 : 0) },
      count: outer * inner,
      body: /* wgsl */ `
  let first = i / params.inner * params.length * params.inner + i % params.inner;
  var total = 0.0;
  for (var k = 0u; k < params.length; k++) {
    let r = select(k, params.length - 1u - k, params.reversed == 1u);
    total += x[first + r * params.inner];
    y[first + r * params.inner] = total;
  }`,
      cost: { flops: n, bytes: 8 * n },
    },
    device,
  );
  return [kernel];
}
