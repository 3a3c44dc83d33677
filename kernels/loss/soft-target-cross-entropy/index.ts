/**
 * Cross-entropy of logits z [rows, width] with target distributions t of the same shape (mixup, cutmix, smoothing):
 *
 *     loss(row) = sum(t (L - z)),   L = m + log(s),  m = max(z),  s = sum(exp(z - m))
 *     dz = (upstream / rows) (exp(z - m) / s sum(t) - t)
 *
 * Targets need not sum to one. Kept for backward: z, t and stats [rows, 4] of m, 1 / s, sum(t) and the loss. Losses are
 * summed over rows by scaled-sum.ts. Targets are constants: they get no gradient. The gradient is written.
 *
 * Cost: 8 FLOP per element forward, 6 backward; memory traffic decides. `deit kernel soft_target_cross_entropy` shows the kernels.
 */
import { plain } from '../../lib/plain.ts';
import { rowVariants } from '../../lib/row-plan.ts';
import { kernelOf } from '../../lib/variant.ts';
import { bytesOf, shapeOf } from '../logits.ts';
import { backwardPlain, forwardPlain } from './plain.ts';
import { checked } from './problem.ts';
import type { SoftTargetProblem } from './problem.ts';
import { backwardOverRows, forwardOverRows } from './rows.ts';

export type { SoftTargetProblem } from './problem.ts';

/** Bindings: logits, targets, row_loss [rows], stats (vec4f). */
export const softTargetForward = kernelOf<SoftTargetProblem>('soft_target_cross_entropy.forward', checked, [
  ...rowVariants<SoftTargetProblem>(shapeOf, false, forwardOverRows),
  plain(bytesOf, forwardPlain),
]);

/** Bindings: logits, targets, stats (vec4f), dloss (one element), dlogits. */
export const softTargetBackward = kernelOf<SoftTargetProblem>('soft_target_cross_entropy.backward', checked, [
  ...rowVariants<SoftTargetProblem>(shapeOf, false, backwardOverRows),
  plain(bytesOf, backwardPlain),
]);
