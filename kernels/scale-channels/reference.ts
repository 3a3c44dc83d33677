import type { ChannelShape } from '../lib/channels.ts';

type Numbers = ArrayLike<number>;

/** x [batch, channels, plane] times gate [batch, channels] in float64, and both gradients for the gradient dy of the result. */
export function scaleChannelsReference(
  { batch, channels, plane }: ChannelShape,
  { x, gate, dy }: { x: Numbers; gate: Numbers; dy: Numbers },
) {
  const y = new Float64Array(x.length);
  const dx = new Float64Array(x.length);
  const dgate = new Float64Array(batch * channels);
  for (let row = 0; row < dgate.length; row++) {
    for (let i = row * plane; i < (row + 1) * plane; i++) {
      y[i] = x[i] * gate[row];
      dx[i] = dy[i] * gate[row];
      dgate[row] += dy[i] * x[i];
    }
  }
  return { y, dx, dgate };
}
