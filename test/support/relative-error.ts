/** ||found - expected|| / ||expected|| in the Euclidean norm (absolute where the expectation is zero). */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) throw new Error(`${found.length} elements, not ${expected.length}`);
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
