import type { MixProblem } from './index.ts';

/** y of images x, mixed as the row `mix` says: see index.ts. */
export function mixReference(
  { batch, channels, height, width }: MixProblem,
  x: ArrayLike<number>,
  [kind, lambda, top, left, bottom, right]: readonly number[],
): Float64Array {
  const y = new Float64Array(x.length);
  let i = 0;
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++, i++) {
          const partner = x[(((batch - 1 - b) * channels + c) * height + row) * width + column];
          const isInside = row >= top && row < bottom && column >= left && column < right;
          if (kind === 1) y[i] = lambda * x[i] + (1 - lambda) * partner;
          else y[i] = kind === 2 && isInside ? partner : x[i];
        }
      }
    }
  }
  return y;
}
