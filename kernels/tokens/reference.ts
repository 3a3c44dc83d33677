import type { TokensProblem } from './index.ts';

type Numbers = ArrayLike<number>;

/** The sequence of tokens in float64, and the gradients for the gradient dy of y. `dist` is not read if there is none. */
export function tokensReference(
  { batch, patches: n, width: d, dist: hasDist }: TokensProblem,
  { patches, cls, dist, pos, dy }: Record<'patches' | 'cls' | 'dist' | 'pos' | 'dy', Numbers>,
) {
  const prefix = hasDist ? 2 : 1;
  const tokens = n + prefix;
  const y = new Float64Array(batch * tokens * d);
  const dpatches = new Float64Array(batch * n * d);
  const dpos = new Float64Array(tokens * d);
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let c = 0; c < d; c++) {
        const i = (b * tokens + t) * d + c;
        const patch = (b * n + t - prefix) * d + c;
        const token = t === 0 ? cls[c] : t < prefix ? dist[c] : patches[patch];
        y[i] = token + pos[t * d + c];
        if (t >= prefix) dpatches[patch] = dy[i];
        dpos[t * d + c] += dy[i];
      }
    }
  }
  return { y, dpatches, dpos, dcls: dpos.slice(0, d), ddist: dpos.slice(d, 2 * d) };
}
