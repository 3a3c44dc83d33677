import { keptScale } from '../dropout/index.ts';

/** x / (1 - rate) for the samples whose uniform number `u` is at least rate, else 0: y for x, and dx for dy. */
export function dropPathReference(rate: number, u: readonly number[], x: ArrayLike<number>): Float64Array {
  const inner = x.length / u.length;
  return Float64Array.from(x, (value, i) => (u[Math.floor(i / inner)] >= rate ? value * keptScale(rate) : 0));
}
