/**
 * What the references share: plain float64, for reading and for tests. References are not part of the published package.
 */
import type { RowShape } from './row-plan.ts';
import type { WindowProblem } from './window.ts';

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

/**
 * Calls `each` for every window with its number, the indices of its pixels in the images, and how many of its elements lie in the
 * image or its padding.
 */
export function eachWindow(
  { planes, height, width, kernel, stride, padding, dilation, windows }: WindowProblem,
  each: (window: number, pixels: number[], padded: number) => void,
): void {
  const [down, across] = windows;
  for (let window = 0; window < planes * down * across; window++) {
    const top = (Math.floor(window / across) % down) * stride[0] - padding[0];
    const left = (window % across) * stride[1] - padding[1];
    const plane = Math.floor(window / across / down);
    const pixels: number[] = [];
    let padded = 0;
    for (let i = 0; i < kernel[0]; i++) {
      for (let j = 0; j < kernel[1]; j++) {
        const [row, column] = [top + i * dilation[0], left + j * dilation[1]];
        if (row < height + padding[0] && column < width + padding[1]) padded++;
        const isInside = row >= 0 && row < height && column >= 0 && column < width;
        if (isInside) pixels.push((plane * height + row) * width + column);
      }
    }
    each(window, pixels, padded);
  }
}
