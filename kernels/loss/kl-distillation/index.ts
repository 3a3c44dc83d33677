/**
 * Soft distillation (Hinton, Vinyals and Dean, 2015; DeiT's losses.py): the Kullback-Leibler divergence of the student's
 * distribution from the teacher's, both softened by a temperature tau, times tau^2:
 *
 *     p = softmax(student / tau),  q = softmax(teacher / tau)
 *     loss(row) = sum(q (log q - log p)),   loss = tau^2 / divisor * sum over rows
 *     dstudent = upstream * tau / divisor * (p - q)
 *
 * The divisor is rows (`batchmean`) or rows * width (`all`), by the caller. Kept for backward: both logits and stats
 * [rows, 4] of max and 1 / sum of either. The teacher gets no gradient. The gradient is written.
 *
 * Cost: 18 FLOP per element forward, 12 backward. `deit kernel kl_distillation` shows the kernels.
 */
import { plain } from '../../lib/plain.ts';
import { rowVariants } from '../../lib/row-plan.ts';
import { kernelOf } from '../../lib/variant.ts';
import { bytesOf, shapeOf } from '../logits.ts';
import { backwardPlain, forwardPlain } from './plain.ts';
import { checked } from './problem.ts';
import type { KlBackwardProblem, KlProblem } from './problem.ts';
import { backwardOverRows, forwardOverRows } from './rows.ts';

export type { KlProblem } from './problem.ts';

/** Bindings: student, teacher, row_loss [rows], stats (vec4f). */
export const klForward = kernelOf<KlProblem>('kl_distillation.forward', checked, [
  ...rowVariants<KlProblem>(shapeOf, false, forwardOverRows),
  plain(bytesOf, forwardPlain),
]);

/** Bindings: student, teacher, stats (vec4f), dloss (one element), dstudent. */
export const klBackward = kernelOf<KlBackwardProblem>('kl_distillation.backward', checked, [
  ...rowVariants<KlBackwardProblem>(shapeOf, false, backwardOverRows),
  plain(bytesOf, backwardPlain),
]);
