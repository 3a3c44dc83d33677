import type { DeviceProfile } from '../lib/device.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { isNanWgsl } from '../lib/math.ts';
import { perInvocation } from '../lib/plain.ts';
import type { ArgmaxProblem } from './problem.ts';

/** One invocation per result. */
export const argmaxPlain = ({ outer, reduce, inner }: ArgmaxProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'argmax/plain',
      bindings: [input('x'), output('y', 'i32')],
      uniforms: { reduce: u32(reduce), inner: u32(inner) },
      functions: isNanWgsl,
      count: outer * inner,
      body: /* wgsl */ `
  let first = i / params.inner * params.reduce * params.inner + i % params.inner;
  var best = 0u;
  for (var r = 1u; r < params.reduce; r++) {
    let largest = x[first + best * params.inner];
    let value = x[first + r * params.inner];
    if (!is_nan(largest) && (is_nan(value) || value > largest)) { best = r; }
  }
  y[i] = i32(best);`,
      cost: { flops: outer * reduce * inner, bytes: 4 * outer * inner * (reduce + 1) },
    },
    device,
  ),
];
