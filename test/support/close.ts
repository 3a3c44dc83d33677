import { expect } from 'vitest';
import { relativeError } from './relative-error.ts';

export { relativeError };

/** Asserts that the relative error is at most `tolerance` (say at the call why that is what f32 arithmetic gives). */
export function expectClose(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what = ''): void {
  expect(relativeError(found, expected), what).toBeLessThanOrEqual(tolerance);
}

/** Deterministic test data: n numbers, uniform in [-scale, scale], representable in f32. */
export function uniform(n: number, seed: number, scale = 1): Float32Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 12), 0x297a2d39) >>> 0;
    mixed = (mixed ^ (mixed >>> 15)) >>> 0;
    return (mixed / 2 ** 31 - 1) * scale;
  });
}

/** The largest error relative to each element, for arrays in which extremes of scale meet. */
export function worstRelative(found: ArrayLike<number>, expected: number[]): number {
  let largest = 0;
  expected.forEach((value, i) => {
    const error = Math.abs(found[i] - value) / Math.max(Math.abs(value), 2 ** -126);
    if (!(error <= largest)) largest = error;
  });
  return largest;
}
