/**
 * y = x in another element type, n elements. Floats become integers without the fraction, and are saturated
 * at the largest and smallest numbers that both types have (2147483520 from f32 to i32). What exceeds f16 becomes infinite.
 * f16 needs the device's feature.
 *
 * No gradient. Cost: each element is read and written once. `deit kernel cast` shows the kernel.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, output, require } from '../lib/kernel.ts';

export type CastType = 'f32' | 'f16' | 'i32' | 'u32';

export interface CastProblem {
  n: number;
  from: CastType;
  to: CastType;
}

const VECTOR = { f32: 'vec4f', f16: 'vec4h', i32: 'vec4i', u32: 'vec4u' } as const;

/** Bindings x, y. */
export const cast = pointwise<CastProblem>('cast', ({ n, from, to }, device) => {
  const f16 = from === 'f16' || to === 'f16';
  require(!f16 || device.f16, 'cast', 'a device with f16', { from, to });
  return {
    name: `cast/${from}-${to}`,
    n,
    bindings: [input('x', VECTOR[from]), output('y', VECTOR[to])],
    enables: f16 ? ['f16'] : [],
    body: `y[i] = ${VECTOR[to]}(x[i]);`,
    flopsPerElement: 1,
  };
});
