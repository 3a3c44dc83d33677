import { eachRow } from '../lib/reference-math.ts';
import type { CumsumProblem } from './index.ts';

/** The sums of all elements up to each one (from the end, if reversed) in float64. The gradient is that of dy, the other way. */
export function cumsumReference({ outer, length, inner, reversed }: CumsumProblem, x: ArrayLike<number>): Float64Array {
  const y = new Float64Array(x.length);
  eachRow({ outer, width: length, inner }, (row) => {
    let total = 0;
    for (const i of reversed ? row.reverse() : row) {
      total += x[i];
      y[i] = total;
    }
  });
  return y;
}
