/**
 * Every channel of every image times a number, the gate of squeeze-and-excitation (Hu et al., 2018), for x [batch, channels,
 * plane] and gate [batch, channels]; as x * gate[:, :, None, None] in PyTorch:
 *
 *     y[b, c, p] = x[b, c, p] gate[b, c]
 *     dx[b, c, p] = dy[b, c, p] gate[b, c]        dgate[b, c] = sum over p of dy[b, c, p] x[b, c, p]
 *
 * Kept for backward: x and gate. Gradients are written.
 * Cost: 1 FLOP per element forward, 3 backward; memory traffic decides. `deit kernel scale_channels` shows the kernels.
 */
import { tensorBytes, withoutEmpty } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { forwardByChannel, gradientByChannel } from './by-channel.ts';
import { forwardPlain, gradientPlain } from './plain.ts';

/** Bindings x, gate, y. */
export const scaleChannelsForward = kernelOf<ChannelShape>('scale_channels.forward', withoutEmpty, [
  { name: 'by_channel', fits: () => true, launches: forwardByChannel },
  plain(tensorBytes, forwardPlain),
]);

/** Bindings x, gate, dy; dx and dgate are written. */
export const scaleChannelsGradient = kernelOf<ChannelShape>('scale_channels.gradient', withoutEmpty, [
  { name: 'by_channel', fits: () => true, launches: gradientByChannel },
  plain(tensorBytes, gradientPlain),
]);
