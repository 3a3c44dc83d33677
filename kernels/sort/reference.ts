import { eachRow } from '../lib/reference-math.ts';
import type { SortProblem } from './index.ts';

/** The indices that put each line in order: stable, NaN above everything, -0 equal to 0. */
export function argsortReference({ outer, length, inner, descending }: SortProblem, x: ArrayLike<number>): number[] {
  const compare = (a: number, b: number): number => {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
    return a < b ? -1 : a > b ? 1 : 0;
  };
  const y = new Array<number>(x.length);
  eachRow({ outer, width: length, inner }, (row) => {
    const order = row.map((_, r) => r);
    order.sort((r, s) => (descending ? compare(x[row[s]], x[row[r]]) : compare(x[row[r]], x[row[s]])));
    order.forEach((r, k) => (y[row[k]] = r));
  });
  return y;
}
