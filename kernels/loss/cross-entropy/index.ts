/**
 * Cross-entropy of logits z [rows, width] with hard labels y, smoothed by eps (PyTorch's convention, which spreads eps
 * over all classes):
 *
 *     loss(row) = (1 - eps) (L - z_y) + eps (L - mean(z)),   L = m + log(s),  m = max(z),  s = sum(exp(z - m))
 *     dz = (upstream / rows) (exp(z - m) / s - (1 - eps) [c = y] - eps / width)
 *
 * With eps = 0 a logit of -infinity masks its class; with eps > 0 it makes the loss infinite, and the gradient stays finite.
 *
 * Kept for backward: z and stats [rows, 4] of m, 1 / s, y and the loss. A label that is no class makes the loss NaN. Losses are
 * summed over rows by scaled-sum.ts. The gradient is written.
 *
 * Cost: 8 FLOP per element forward, 6 backward; memory traffic decides. `deit kernel cross_entropy` shows the kernels.
 */
import { plain } from '../../lib/plain.ts';
import { rowVariants } from '../../lib/row-plan.ts';
import { kernelOf } from '../../lib/variant.ts';
import { bytesOf, shapeOf } from '../logits.ts';
import { backwardPlain, forwardPlain } from './plain.ts';
import { checked } from './problem.ts';
import type { CrossEntropyProblem } from './problem.ts';
import { backwardOverRows, forwardOverRows } from './rows.ts';

export type { CrossEntropyProblem } from './problem.ts';

/** Bindings: logits; labels (i32); row_loss [rows]; stats (vec4f). */
export const crossEntropyForward = kernelOf<CrossEntropyProblem>('cross_entropy.forward', checked, [
  ...rowVariants<CrossEntropyProblem>(shapeOf, false, forwardOverRows),
  plain(bytesOf, forwardPlain),
]);

/** Bindings: logits, stats (vec4f), dloss (one element), dlogits. */
export const crossEntropyBackward = kernelOf<CrossEntropyProblem>('cross_entropy.backward', checked, [
  ...rowVariants<CrossEntropyProblem>(shapeOf, false, backwardOverRows),
  plain(bytesOf, backwardPlain),
]);
