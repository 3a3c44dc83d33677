import type { ChannelShape } from '../lib/channels.ts';

/** The mean of each image and channel in float64, and the gradient of x for the gradient dy [batch, channels] of the means. */
export function globalAvgPoolReference(
  { batch, channels, plane }: ChannelShape,
  x: ArrayLike<number>,
  dy: ArrayLike<number>,
) {
  const y = new Float64Array(batch * channels);
  const dx = new Float64Array(x.length);
  for (let row = 0; row < y.length; row++) {
    for (let p = 0; p < plane; p++) {
      y[row] += x[row * plane + p] / plane;
      dx[row * plane + p] = dy[row] / plane;
    }
  }
  return { y, dx };
}
