import { eachRow, sum } from '../lib/reference-math.ts';
import type { ReduceProblem } from './index.ts';

/**
 * Sum or maximum over the middle dimension in float64, and the gradient of x for the gradient dy of the result. Elements that
 * are equal to the maximum share its gradient evenly.
 */
export function reduceReference(
  { op, outer, reduce, inner, divisor = 1 }: ReduceProblem,
  x: ArrayLike<number>,
  dy: ArrayLike<number>,
) {
  const y = new Float64Array(outer * inner);
  const dx = new Float64Array(x.length);
  eachRow({ outer, width: reduce, inner }, (row, result) => {
    const values = row.map((i) => x[i]);
    y[result] = op === 'sum' ? sum(values) / divisor : values.reduce((a, b) => Math.max(a, b), -Infinity);
    const ties = values.filter((value) => value === y[result]).length;
    row.forEach((i) => {
      dx[i] = op === 'sum' ? dy[result] / divisor : x[i] === y[result] ? dy[result] / ties : 0;
    });
  });
  return { y, dx };
}
