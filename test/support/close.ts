import { expect } from 'vitest';

/** ||found - expected|| / ||expected|| in the Euclidean norm (absolute where the expectation is zero). */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < found.length; i++) {
    // A NaN or infinity on one side alone must not vanish in the sum.
    if (!Number.isFinite(found[i]) || !Number.isFinite(expected[i])) {
      if (!Object.is(found[i], expected[i])) return Infinity;
      continue;
    }
    difference += (found[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return norm === 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm);
}

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
