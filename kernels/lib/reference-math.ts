/**
 * What the references share: plain float64, for reading and for tests. References are not part of the published package.
 */
import type { RowShape } from './row-plan.ts';

export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Calls `each` with the indices of the elements of every row of a tensor [outer, width, inner]. */
export function eachRow({ outer, width, inner }: RowShape, each: (row: number[], number: number) => void): void {
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < inner; j++) {
      const row = Array.from({ length: width }, (_, c) => (o * width + c) * inner + j);
      each(row, o * inner + j);
    }
  }
}

/** The logarithm of the softmax of a row of logits divided by the temperature tau, the maximum subtracted. */
export function logSoftmaxOfRow(row: readonly number[], tau = 1): number[] {
  const m = row.reduce((a, b) => Math.max(a, b), -Infinity);
  const logSum = Math.log(sum(row.map((z) => Math.exp((z - m) / tau))));
  return row.map((z) => (z - m) / tau - logSum);
}

/** The complementary error function: 1 - erf by its Taylor series up to 1, a continued fraction from 1 on. */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < 1) return 1 - erf(x);
  let fraction = 0;
  for (let n = 600; n > 0; n--) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

/** The error function. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a >= 1) return Math.sign(x) * (1 - erfc(a));
  let term = a;
  let total = a;
  for (let n = 1; Math.abs(term) > 1e-20 * total; n++) {
    term *= (-a * a) / n;
    total += term / (2 * n + 1);
  }
  return (Math.sign(x) * 2 * total) / Math.sqrt(Math.PI);
}
