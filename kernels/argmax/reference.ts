import { eachRow } from '../lib/reference-math.ts';
import type { ArgmaxProblem } from './problem.ts';

/** The place of the first NaN of each row, or of the first of its largest elements. */
export function argmaxReference({ outer, reduce, inner }: ArgmaxProblem, x: ArrayLike<number>): number[] {
  const y = new Array<number>(outer * inner);
  eachRow({ outer, width: reduce, inner }, (row, number) => {
    const values = row.map((i) => x[i]);
    const nan = values.findIndex(Number.isNaN);
    y[number] = nan >= 0 ? nan : values.indexOf(values.reduce((a, b) => Math.max(a, b)));
  });
  return y;
}
