import {
  distilledCrossEntropyBackward,
  distilledCrossEntropyForward,
  distilledTotal,
} from '../../../kernels/loss/distilled-cross-entropy/index.ts';
import type { DistilledCrossEntropyProblem } from '../../../kernels/loss/distilled-cross-entropy/index.ts';
import { DeitError } from '../../../kernels/lib/errors.ts';
import { defineOp } from '../../op.ts';
import { expectShape } from '../../tensor-shape.ts';
import type { Tensor } from '../../tensor.ts';
import { expectConstant, expectLabels, expectShare, sizesOf } from './operands.ts';

type Attributes = DistilledCrossEntropyProblem & { readonly alpha: number };

const distilledCrossEntropyOp = defineOp<Attributes>({
  name: 'distilledCrossEntropy',
  forward(ctx, inputs) {
    const [cls, dist, target, teacher] = inputs.map((tensor) => tensor!);
    const { alpha, ...problem } = ctx.attributes;
    const { rows } = problem;
    const [rowLoss, stats] = [ctx.empty([rows, 2]), ctx.empty([rows, 2, 4])];
    const source: Record<string, Tensor> = problem.target === 'labels' ? { labels: target } : { targets: target };
    ctx.run(distilledCrossEntropyForward, problem, { cls, dist, ...source, teacher, row_loss: rowLoss, stats });
    const [total, label, distillation] = [ctx.empty([]), ctx.empty([]), ctx.empty([])];
    ctx.run(distilledTotal, { rows, alpha }, { row_loss: rowLoss, total, label, distillation });
    ctx.save(cls, dist, stats, ...(problem.target === 'labels' ? [] : [target]));
    return [total, label, distillation];
  },
  backward(ctx, [dtotal]) {
    const [cls, dist, stats, targets] = ctx.saved;
    // Both are computed in any case: one that nobody wants goes nowhere.
    const [dcls, ddist] = [0, 1].map((head) => (ctx.needs(head) ? ctx.gradient(head) : ctx.empty(cls.shape)));
    const tensors = { cls, dist, ...(targets && { targets }), stats, dtotal: dtotal!, dcls, ddist };
    ctx.run(distilledCrossEntropyBackward, ctx.attributes, tensors);
  },
});

export interface DistilledLosses {
  /** What is differentiated: (1 - alpha) label + alpha distillation. Scalar. */
  readonly total: Tensor;
  /** Cross-entropy of the class head with the target. Scalar, without gradient. */
  readonly label: Tensor;
  /** Cross-entropy of the distillation head with the teacher's decisions. Scalar, without gradient. */
  readonly distillation: Tensor;
}

export interface DistilledCrossEntropyOptions {
  /** Weight of the distillation term; 0.5 if left out. */
  alpha?: number;
  /** Of the labels, as in `crossEntropy`; 0 if left out. The teacher's decisions are not smoothed. */
  labelSmoothing?: number;
}

/**
 * The loss of a student with two heads under hard distillation, in three dispatches with its backward pass: what
 * `crossEntropy` or `softTargetCrossEntropy` makes of the class head `cls`, and `crossEntropy` of the distillation head `dist`
 * with the teacher's decisions (the argmax of its logits, the first of equal ones), weighted. Logits are [B, K]; the target, as PyTorch's `F.cross_entropy` takes it, is labels (i32 [B]) or
 * distributions over the classes ([B, K]). `cls` and `dist` may be the same tensor. DeiT's `DistillationLoss`, type `hard`.
 */
export function distilledCrossEntropy(
  cls: Tensor,
  dist: Tensor,
  target: Tensor,
  teacher: Tensor,
  options: DistilledCrossEntropyOptions = {},
): DistilledLosses {
  const where = 'distilledCrossEntropy';
  const { alpha = 0.5, labelSmoothing: smoothing = 0 } = options;
  const sizes = sizesOf(cls, where);
  sizesOf(dist, where);
  expectShape(dist.shape, cls.shape, where, 'the distillation head');
  expectConstant(teacher, cls, where, 'the teacher');
  expectShare(alpha, where, 'Alpha');
  expectShare(smoothing, where, 'Label smoothing');
  const isDistribution = target.rank === 2;
  if (isDistribution) {
    expectConstant(target, cls, where, 'the targets');
    if (smoothing > 0) {
      throw new DeitError('bad-argument', 'Only labels are smoothed, distributions are taken as they are.', {
        where,
        found: `labelSmoothing ${smoothing}`,
        fix: 'smooth the distributions, as mixedTargets does',
      });
    }
  } else expectLabels(target, sizes.rows, where);
  const attributes = { ...sizes, target: isDistribution ? 'distribution' : 'labels', smoothing, alpha } as const;
  const [total, label, distillation] = distilledCrossEntropyOp([cls, dist, target, teacher], attributes);
  return { total, label: label.detach(), distillation: distillation.detach() };
}
