/** y = value in all of n elements. No gradient: a constant has none. */
import { elementwise } from '../lib/elementwise.ts';
import { f32, output } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';

/** Bindings: y. `bits` of the value keep NaN, infinities and -0 apart where problems are compared as JSON. */
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
