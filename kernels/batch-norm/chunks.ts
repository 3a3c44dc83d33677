import { chunkCount, reduceParts } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import type { DeviceProfile } from '../lib/device.ts';

/** Forward in training, backward, and backward without the input gradient. */
export type Pass = 'forward' | 'backward' | 'sums';

/**
 * How a pass is cut. A pass of one chunk a channel is one kernel, which sums and then sweeps once more to write y or dx;
 * otherwise the chunks' sums go through the scratch memory `partial`.
 */
export function chunksOf({ batch, channels, plane, f16 }: ChannelShape, pass: Pass, device: DeviceProfile) {
  const arrays = { forward: ['x', 'y'], backward: ['x', 'dy', 'dx'], sums: ['x', 'dy'] }[pass];
  const parts = reduceParts({ batch, channels, plane, f16 }, arrays, device, `batch_norm.${pass}`);
  const chunks = chunkCount(parts);
  // x, dy, mean, rstd, weight, bias, dweight, dbias and dx are the most bindings of one kernel.
  const fused = pass !== 'sums' && chunks === 1 && device.maxStorageBuffers >= 9;
  return { parts, chunks, fused };
}
