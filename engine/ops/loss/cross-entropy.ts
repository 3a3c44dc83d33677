import { crossEntropyBackward, crossEntropyForward } from '../../../kernels/loss/cross-entropy/index.ts';
import { topHits } from '../../../kernels/count-correct/index.ts';
import { DeitError } from '../../../kernels/lib/errors.ts';
import { klBackward, klForward } from '../../../kernels/loss/kl-distillation/index.ts';
import { scaledSum } from '../../../kernels/loss/scaled-sum.ts';
import { softTargetBackward, softTargetForward } from '../../../kernels/loss/soft-target-cross-entropy/index.ts';
import { defineOp } from '../../op.ts';
import type { ForwardContext } from '../../op.ts';
import type { Tensor } from '../../tensor.ts';
import { expectConstant, expectLabels, expectShare, sizesOf } from './operands.ts';

/*
 * Losses of a batch of logits [B, K], as scalars []. Forward computes each in two dispatches (rows, then their sum) and
 * keeps four numbers a row; backward is one dispatch. Targets, labels and teachers are constants. Both losses of a student
 * with two heads at once are in distilled-cross-entropy.ts.
 */

interface LossAttributes {
  rows: number;
  width: number;
}

/** factor * sum of the rows' losses, as a scalar. */
function sumOfRows<A extends object>(ctx: ForwardContext<A>, rowLoss: Tensor, factor: number): Tensor {
  const loss = ctx.empty([]);
  ctx.run(scaledSum, { n: rowLoss.size, factor }, { x: rowLoss, y: loss });
  return loss;
}

// ---- cross-entropy with hard labels

interface CrossEntropyAttributes extends LossAttributes {
  smoothing: number;
  /** Whether the second input is labels or a teacher's logits. */
  labels: 'given' | 'teacher';
}

const crossEntropyOp = defineOp<CrossEntropyAttributes>({
  name: 'crossEntropy',
  forward(ctx, [logits, target]) {
    const { rows, labels } = ctx.attributes;
    const [rowLoss, stats] = [ctx.empty([rows]), ctx.empty([rows, 4])];
    const source: Record<string, Tensor> = labels === 'given' ? { labels: target! } : { teacher: target! };
    ctx.run(crossEntropyForward, ctx.attributes, { logits: logits!, ...source, row_loss: rowLoss, stats });
    ctx.save(logits!, stats);
    return [sumOfRows(ctx, rowLoss, 1 / rows)];
  },
  backward(ctx, [dloss]) {
    const { rows, width, smoothing } = ctx.attributes;
    const [logits, stats] = ctx.saved;
    const tensors = { logits, stats, dloss: dloss!, dlogits: ctx.gradient(0) };
    ctx.run(crossEntropyBackward, { rows, width, smoothing }, tensors);
  },
});

/**
 * Mean over the batch of the cross-entropy of logits [B, K] with labels i32 [B]: (1 - eps) nll + eps mean nll, where eps
 * is `labelSmoothing`. Scalar []. A label outside 0..K-1 makes the loss NaN. PyTorch's `F.cross_entropy`.
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: { labelSmoothing?: number } = {}): Tensor {
  const { labelSmoothing: smoothing = 0 } = options;
  const { rows, width } = sizesOf(logits, 'crossEntropy');
  expectLabels(labels, rows, 'crossEntropy');
  expectShare(smoothing, 'crossEntropy', 'Label smoothing');
  return crossEntropyOp([logits, labels], { rows, width, smoothing, labels: 'given' })[0];
}

/**
 * Hard distillation: the mean cross-entropy of student logits [B, K] with the teacher's decisions, the argmax of its
 * logits [B, K] (the first of equal ones), found in the same kernel. Scalar []. DeiT's `DistillationLoss`, type `hard`.
 */
export function distillationHardLoss(student: Tensor, teacher: Tensor): Tensor {
  const { rows, width } = sizesOf(student, 'distillationHardLoss');
  expectConstant(teacher, student, 'distillationHardLoss', 'the teacher');
  return crossEntropyOp([student, teacher], { rows, width, smoothing: 0, labels: 'teacher' })[0];
}

// ---- cross-entropy with target distributions

const softTargetOp = defineOp<LossAttributes>({
  name: 'softTargetCrossEntropy',
  forward(ctx, [logits, targets]) {
    const { rows } = ctx.attributes;
    const [rowLoss, stats] = [ctx.empty([rows]), ctx.empty([rows, 4])];
    const tensors = { logits: logits!, targets: targets!, row_loss: rowLoss, stats };
    ctx.run(softTargetForward, ctx.attributes, tensors);
    ctx.save(logits!, targets!, stats);
    return [sumOfRows(ctx, rowLoss, 1 / rows)];
  },
  backward(ctx, [dloss]) {
    const [logits, targets, stats] = ctx.saved;
    const tensors = { logits, targets, stats, dloss: dloss!, dlogits: ctx.gradient(0) };
    ctx.run(softTargetBackward, ctx.attributes, tensors);
  },
});

/**
 * Mean over the batch of -sum(targets * log softmax(logits)), both [B, K]; targets need not sum to one. Scalar [].
 * timm's `SoftTargetCrossEntropy`.
 */
export function softTargetCrossEntropy(logits: Tensor, targets: Tensor): Tensor {
  const sizes = sizesOf(logits, 'softTargetCrossEntropy');
  expectConstant(targets, logits, 'softTargetCrossEntropy', 'the targets');
  return softTargetOp([logits, targets], sizes)[0];
}

// ---- Kullback-Leibler divergence from a teacher

interface KlAttributes extends LossAttributes {
  tau: number;
  divisor: number;
}

const klOp = defineOp<KlAttributes>({
  name: 'klDistillation',
  forward(ctx, [student, teacher]) {
    const { rows, width, tau, divisor } = ctx.attributes;
    const [rowLoss, stats] = [ctx.empty([rows]), ctx.empty([rows, 4])];
    ctx.run(klForward, { rows, width, tau }, { student: student!, teacher: teacher!, row_loss: rowLoss, stats });
    ctx.save(student!, teacher!, stats);
    return [sumOfRows(ctx, rowLoss, (tau * tau) / divisor)];
  },
  backward(ctx, [dloss]) {
    const [student, teacher, stats] = ctx.saved;
    ctx.run(klBackward, ctx.attributes, { student, teacher, stats, dloss: dloss!, dstudent: ctx.gradient(0) });
  },
});

export interface KlOptions {
  /** Temperature that divides both logits. */
  tau?: number;
  /** What the sum is divided by: the batch B, or all B * K elements as DeiT's code does (PyTorch's legacy mean). */
  scaling?: 'batchmean' | 'all';
}

/**
 * Soft distillation: tau^2 KL(softmax(teacher / tau) || softmax(student / tau)), both logits [B, K], summed and divided
 * as `scaling` says. Scalar []. DeiT's `DistillationLoss`, type `soft`, is scaling `all`.
 */
export function klDistillation(student: Tensor, teacher: Tensor, options: KlOptions = {}): Tensor {
  const { tau = 1, scaling = 'batchmean' } = options;
  const { rows, width } = sizesOf(student, 'klDistillation');
  expectConstant(teacher, student, 'klDistillation', 'the teacher');
  if (!(tau > 0 && Number.isFinite(tau))) {
    throw new DeitError('bad-argument', 'The temperature is a positive number.', {
      where: 'klDistillation',
      found: String(tau),
    });
  }
  if (scaling !== 'batchmean' && scaling !== 'all') {
    throw new DeitError('bad-argument', 'There is no such scaling of the divergence.', {
      where: 'klDistillation',
      expected: "'batchmean' or 'all'",
      found: String(scaling),
    });
  }
  const divisor = scaling === 'all' ? rows * width : rows;
  return klOp([student, teacher], { rows, width, tau, divisor })[0];
}

// ---- accuracy

const countCorrectOp = defineOp<LossAttributes & { k: number }>({
  name: 'countCorrect',
  forward(ctx, [logits, labels]) {
    const { rows } = ctx.attributes;
    const [correct, count] = [ctx.empty([rows]), ctx.empty([1])];
    ctx.run(topHits, ctx.attributes, { logits: logits!, labels: labels!, correct });
    ctx.run(scaledSum, { n: rows, factor: 1 }, { x: correct, y: count });
    return [count];
  },
  backward: null,
});

/**
 * f32 [1]: how many rows of logits [B, K] have their label (i32 [B]) among the k largest; of equal logits the first
 * counts as the larger. Labels outside 0..K-1 (padding of a last batch) are never right. Has no gradient.
 */
export function countCorrect(logits: Tensor, labels: Tensor, k = 1): Tensor {
  const { rows, width } = sizesOf(logits, 'countCorrect');
  expectLabels(labels, rows, 'countCorrect');
  if (!Number.isInteger(k) || k < 1) {
    throw new DeitError('bad-argument', 'k is a whole number of at least 1.', {
      where: 'countCorrect',
      found: String(k),
    });
  }
  return countCorrectOp([logits.detach(), labels], { rows, width, k })[0];
}
