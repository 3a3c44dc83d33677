import { softTargetBackward, softTargetForward } from '../../../kernels/loss/soft-target-cross-entropy/index.ts';
import { defineOp } from '../../op.ts';
import type { Tensor } from '../../tensor.ts';
import { expectConstant, sizesOf, sumOfRows } from './operands.ts';
import type { LossAttributes } from './operands.ts';

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
