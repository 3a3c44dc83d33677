import type { IndexSelectProblem } from './index.ts';

/** The selected elements, and the gradient of x for the gradient dy of the result. Every index is in range. */
export function indexSelectReference(
  { outer, length, inner, count }: IndexSelectProblem,
  { x, index, dy }: Record<'x' | 'index' | 'dy', ArrayLike<number>>,
) {
  const y = new Float64Array(outer * count * inner);
  const dx = new Float64Array(outer * length * inner);
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < count; j++) {
      for (let i = 0; i < inner; i++) {
        const from = (o * length + index[j]) * inner + i;
        const to = (o * count + j) * inner + i;
        y[to] = x[from];
        dx[from] += dy[to];
      }
    }
  }
  return { y, dx };
}
