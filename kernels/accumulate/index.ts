/**
 * Sums of gradients that meet in one tensor: in place (`accumulate`), or as a new tensor (`sumOf`). n elements, f32 or f16.
 */
import { elementwise } from '../lib/elementwise.ts';
import { input, output } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';

/** total += source, both of n elements, f32 or f16 (`half`). Gradients that meet are added with this. */
export const accumulate: Kernel<{ n: number; half?: boolean }> = ({ n, half }, device) =>
  elementwise(
    {
      name: 'accumulate',
      n,
      bindings: [output('total', 'vec4f'), input('source', 'vec4f')],
      half: half ? ['total', 'source'] : [],
      body: 'total[i] += source[i];',
      flopsPerElement: 1,
    },
    device,
  );

/** sum = a + b, all of n elements. */
export const sumOf: Kernel<{ n: number; half?: boolean }> = ({ n, half }, device) =>
  elementwise(
    {
      name: 'sum_of',
      n,
      bindings: [input('a', 'vec4f'), input('b', 'vec4f'), output('sum', 'vec4f')],
      half: half ? ['a', 'b', 'sum'] : [],
      body: 'sum[i] = a[i] + b[i];',
      flopsPerElement: 1,
    },
    device,
  );
