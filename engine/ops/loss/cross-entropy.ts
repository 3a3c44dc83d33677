import { crossEntropyBackward, crossEntropyForward } from '../../../kernels/loss/cross-entropy/index.ts';
import { defineOp } from '../../op.ts';
import type { Tensor } from '../../tensor.ts';
import { argmax } from '../argmax.ts';
import { expectConstant, expectLabels, expectShare, sizesOf, sumOfRows } from './operands.ts';
import type { LossAttributes } from './operands.ts';

interface CrossEntropyAttributes extends LossAttributes {
  smoothing: number;
}

const crossEntropyOp = defineOp<CrossEntropyAttributes>({
  name: 'crossEntropy',
  forward(ctx, [logits, labels]) {
    const { rows } = ctx.attributes;
    const [rowLoss, stats] = [ctx.empty([rows]), ctx.empty([rows, 4])];
    ctx.run(crossEntropyForward, ctx.attributes, { logits: logits!, labels: labels!, row_loss: rowLoss, stats });
    ctx.save(logits!, stats);
    return [sumOfRows(ctx, rowLoss, 1 / rows)];
  },
  backward(ctx, [dloss]) {
    const [logits, stats] = ctx.saved;
    const tensors = { logits, stats, dloss: dloss!, dlogits: ctx.gradient(0) };
    ctx.run(crossEntropyBackward, ctx.attributes, tensors);
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
  return crossEntropyOp([logits, labels], { rows, width, smoothing })[0];
}

/**
 * Hard distillation of one head: the mean cross-entropy of student logits [B, K] with the teacher's decisions, the argmax of its
 * logits [B, K] (the first of equal ones). Scalar []. DeiT's `DistillationLoss`, type `hard`; for two heads at once see
 * `distilledCrossEntropy`.
 */
export function distillationHardLoss(student: Tensor, teacher: Tensor): Tensor {
  sizesOf(student, 'distillationHardLoss');
  expectConstant(teacher, student, 'distillationHardLoss', 'the teacher');
  return crossEntropy(student, argmax(teacher));
}
