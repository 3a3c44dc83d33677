/**
 * Global average pooling of x [batch, channels, plane], as x.mean((2, 3)) in PyTorch:
 *
 *     y[b, c] = sum over p of x[b, c, p] / plane        dx[b, c, p] = dy[b, c] / plane  (+ pending[b, c, p])
 *
 * Nothing is kept. Gradients are written; `pending` is a gradient that reached x along another path (squeeze-and-excitation).
 * Cost: one addition per element forward; each element is read or written once. `deit kernel global_avg_pool` shows the kernels.
 */
import { tensorBytes, withoutEmpty } from '../lib/channels.ts';
import type { ChannelShape } from '../lib/channels.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { forwardByChannel, gradientByChannel } from './by-channel.ts';
import { forwardPlain, gradientPlain } from './plain.ts';

/** Bindings x, y. */
export const globalAvgPoolForward = kernelOf<ChannelShape>('global_avg_pool.forward', withoutEmpty, [
  { name: 'by_channel', fits: () => true, launches: forwardByChannel },
  plain(tensorBytes, forwardPlain),
]);

/** Bindings dy, pending if the problem has it, dx. */
export const globalAvgPoolGradient = kernelOf<ChannelShape & { pending: boolean }>(
  'global_avg_pool.gradient',
  withoutEmpty,
  [{ name: 'by_channel', fits: () => true, launches: gradientByChannel }, plain(tensorBytes, gradientPlain)],
);
