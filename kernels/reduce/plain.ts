import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { f32, input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { isNanWgsl } from '../lib/math.ts';
import { perInvocation } from '../lib/plain.ts';
import type { ReduceProblem } from './stage.ts';

/** Most elements of a sum: of more, rounding errors would add up. */
export const LONGEST_PLAIN = 2 ** 14;

/** Sums of 64 elements are added up, not single elements: rounding errors grow with the number of additions in a row. */
const sum = /* wgsl */ `
  var total = 0.0;
  for (var block = 0u; block < params.reduce; block += 64u) {
    var part = 0.0;
    for (var r = block; r < min(block + 64u, params.reduce); r++) { part += x[first + r * params.inner]; }
    total += part;
  }
  y[i] = total / params.divisor;`;

const maximum = /* wgsl */ `
  var largest = x[first];
  for (var r = 1u; r < params.reduce; r++) {
    let value = x[first + r * params.inner];
    if (!is_nan(largest) && (is_nan(value) || value > largest)) { largest = value; }
  }
  y[i] = largest;`;

/** One invocation per result. */
export function reducePlain(
  { op, outer, reduce, inner, divisor = 1, f16 = false }: ReduceProblem,
  device: DeviceProfile,
): Launch[] {
  const kernel = perInvocation(
    {
      name: `${op}.reduce/plain`,
      bindings: [input('x'), output('y')],
      uniforms: { reduce: u32(reduce), inner: u32(inner), divisor: f32(divisor) },
      functions: op === 'amax' ? isNanWgsl : '',
      count: outer * inner,
      body: `let first = i / params.inner * params.reduce * params.inner + i % params.inner;${op === 'sum' ? sum : maximum}`,
      cost: { flops: outer * reduce * inner, bytes: outer * inner * ((f16 ? 2 : 4) * reduce + 4) },
    },
    device,
  );
  return inF16([kernel], f16 ? ['x'] : undefined);
}
