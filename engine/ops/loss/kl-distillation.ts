import { DeitError } from '../../../kernels/lib/errors.ts';
import { klBackward, klForward } from '../../../kernels/loss/kl-distillation/index.ts';
import { defineOp } from '../../op.ts';
import type { Tensor } from '../../tensor.ts';
import { expectConstant, sizesOf, sumOfRows } from './operands.ts';
import type { LossAttributes } from './operands.ts';

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
