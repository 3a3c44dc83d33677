import type { DeviceProfile } from '../lib/device.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { orderWgsl } from '../lib/math.ts';
import { perInvocation } from '../lib/plain.ts';
import type { SortProblem } from './problem.ts';

/** One invocation per element: its place is the number of elements of its line that come before it. */
export function sortPlain({ outer, length, inner, descending }: SortProblem, device: DeviceProfile): Launch[] {
  const n = outer * length * inner;
  const kernel = perInvocation(
    {
      name: 'sort/plain',
      bindings: [input('x', 'u32'), output('y', 'i32')],
      uniforms: { length: u32(length), inner: u32(inner), descending: u32(descending ? 1 : 0) },
      functions: orderWgsl,
      count: n,
      body: /* wgsl */ `
  let first = i / params.inner / params.length * params.length * params.inner + i % params.inner;
  let own_r = i / params.inner % params.length;
  let own = order(x[i]);
  var before = 0u;
  for (var r = 0u; r < params.length; r++) {
    let other = order(x[first + r * params.inner]);
    let is_before = select((other < own), (other > own), params.descending == 1u);
    if (is_before || (other == own && r < own_r)) { before++; }
  }
  y[first + before * params.inner] = i32(own_r);`,
      cost: { flops: n * length, bytes: 8 * n },
    },
    device,
  );
  return [kernel];
}
