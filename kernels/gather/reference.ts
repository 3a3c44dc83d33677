import type { GatherProblem } from './index.ts';

/** The elements that the index names, NaN where it is out of range, and the gradient of x for the gradient dy of the result. */
export function gatherReference(
  { outer, length, inner, count }: GatherProblem,
  { x, index, dy }: Record<'x' | 'index' | 'dy', ArrayLike<number>>,
) {
  const y = new Float64Array(outer * count * inner);
  const dx = new Float64Array(outer * length * inner);
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < count; k++) {
      for (let i = 0; i < inner; i++) {
        const to = (o * count + k) * inner + i;
        const isInRange = index[to] >= 0 && index[to] < length;
        const from = (o * length + index[to]) * inner + i;
        y[to] = isInRange ? x[from] : NaN;
        if (isInRange) dx[from] += dy[to];
      }
    }
  }
  return { y, dx };
}
