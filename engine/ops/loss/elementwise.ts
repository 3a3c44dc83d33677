/** Losses that are means of a function of each element. */
import { DeitError } from '../../../kernels/lib/errors.ts';
import { expectShape } from '../../tensor-shape.ts';
import type { Tensor } from '../../tensor.ts';
import { add, mul, sub } from '../binary.ts';
import { mean, sum } from '../reduce.ts';
import { logSigmoid, square } from '../unary.ts';

export type Reduction = 'mean' | 'sum' | 'none';

function reduced(losses: Tensor, reduction: Reduction, where: string): Tensor {
  if (reduction === 'none') return losses;
  if (reduction === 'mean') return mean(losses);
  if (reduction === 'sum') return sum(losses);
  throw new DeitError('bad-argument', 'There is no such reduction.', {
    where,
    expected: "'mean', 'sum' or 'none'",
    found: String(reduction),
  });
}

/** (x - target)^2 of elements of one shape. PyTorch's `F.mse_loss`. */
export function mseLoss(x: Tensor, target: Tensor, { reduction = 'mean' }: { reduction?: Reduction } = {}): Tensor {
  expectShape(target.shape, x.shape, 'mseLoss', 'the target');
  return reduced(square(sub(x, target)), reduction, 'mseLoss');
}

export interface BceOptions {
  reduction?: Reduction;
  /** Multiplies the loss of each element; broadcasts. */
  weight?: Tensor | null;
  /** Multiplies the part of positive examples, for instance one number per class; broadcasts. */
  posWeight?: Tensor | null;
}

/**
 * Binary cross-entropy of logits with targets in 0 ... 1, of one shape: -(p t log s(x) + (1 - t) log(1 - s(x))) with the sigmoid s and
 * `posWeight` p. Written so that nothing is lost for large logits. PyTorch's `F.binary_cross_entropy_with_logits`.
 */
export function bceWithLogits(x: Tensor, target: Tensor, options: BceOptions = {}): Tensor {
  const { reduction = 'mean', weight = null, posWeight = null } = options;
  expectShape(target.shape, x.shape, 'bceWithLogits', 'the target');
  const negative = mul(sub(1, target), x);
  // log s(x) belongs to t and, from log(1 - s(x)) = log s(x) - x, to 1 - t.
  const share = posWeight ? add(mul(sub(posWeight, 1), target), 1) : null;
  const logs = share ? mul(share, logSigmoid(x)) : logSigmoid(x);
  const losses = sub(negative, logs);
  return reduced(weight ? mul(losses, weight) : losses, reduction, 'bceWithLogits');
}
