import type { ScatterProblem } from './index.ts';

/** y in float64: see index.ts. `mask` reads no src. Indices out of range go nowhere. */
export function scatterReference(
  { outer, length, inner, count, mode }: ScatterProblem & { mode: 'replace' | 'add' | 'mask' },
  { x, index, src }: Record<'x' | 'index' | 'src', ArrayLike<number>>,
): Float64Array {
  const y = Float64Array.from(x);
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < count; k++) {
      for (let i = 0; i < inner; i++) {
        const from = (o * count + k) * inner + i;
        if (index[from] < 0 || index[from] >= length) continue;
        const to = (o * length + index[from]) * inner + i;
        y[to] = mode === 'add' ? y[to] + src[from] : mode === 'replace' ? src[from] : 0;
      }
    }
  }
  return y;
}
