/**
 * y = value in all of n elements. No gradient: a constant has none. Cost: each element is written once. `deit kernel fill` shows
 * the kernel.
 */
import { pointwise } from '../lib/elementwise.ts';
import { f32, output } from '../lib/kernel.ts';

/** Bindings: y. `bits` of the value keep NaN, infinities and -0 apart where problems are compared as JSON. */
export const fill = pointwise<{ n: number; value: number; bits?: number }>('fill', ({ n, value }) => ({
  name: 'fill',
  n,
  bindings: [output('y', 'vec4f')],
  uniforms: { value: f32(value) },
  body: 'y[i] = vec4f(params.value);',
  flopsPerElement: 0,
}));
