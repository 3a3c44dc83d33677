import { elementwise } from '../lib/elementwise.ts';
import { f32, input, output } from '../lib/kernel.ts';
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

/** y = value in all n elements. `bits` of the value keep NaN, infinities and -0 apart where problems are compared as JSON. */
export const fill: Kernel<{ n: number; value: number; bits?: number }> = ({ n, value }, device) =>
  elementwise(
    {
      name: 'fill',
      n,
      bindings: [output('y', 'vec4f')],
      uniforms: { value: f32(value) },
      body: 'y[i] = vec4f(params.value);',
      flopsPerElement: 0,
    },
    device,
  );
