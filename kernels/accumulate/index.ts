/**
 * Sums of gradients that meet in one tensor: in place (`accumulate`), or as a new tensor (`sumOf`). n elements, f32 or f16.
 *
 * Cost: one addition per element; memory traffic decides. `deit kernel accumulate` shows the kernel.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, output } from '../lib/kernel.ts';

/** total += source, both of n elements, f32 or f16 (`f16`). Gradients that meet are added with this. */
export const accumulate = pointwise<{ n: number; f16?: boolean }>('accumulate', ({ n, f16 }) => ({
  name: 'accumulate',
  n,
  bindings: [output('total', 'vec4f'), input('source', 'vec4f')],
  f16: f16 ? ['total', 'source'] : [],
  body: 'total[i] += source[i];',
  flopsPerElement: 1,
}));

/** sum = a + b, all of n elements. */
export const sumOf = pointwise<{ n: number; f16?: boolean }>('sum_of', ({ n, f16 }) => ({
  name: 'sum_of',
  n,
  bindings: [input('a', 'vec4f'), input('b', 'vec4f'), output('sum', 'vec4f')],
  f16: f16 ? ['a', 'b', 'sum'] : [],
  body: 'sum[i] = a[i] + b[i];',
  flopsPerElement: 1,
}));
