import { DeitError } from '../../../kernels/lib/errors.ts';
import { scaledSum } from '../../../kernels/loss/scaled-sum.ts';
import { expectFloat } from '../../autocast.ts';
import type { ForwardContext } from '../../op.ts';
import { expectShape, formatShape } from '../../tensor-shape.ts';
import type { Tensor } from '../../tensor.ts';

/*
 * What losses of a batch of logits [B, K], scalars [], have in common. Forward computes each in two dispatches (rows, then
 * their sum) and keeps four numbers per row; backward is one dispatch. Targets, labels and teachers are constants.
 */

export interface LossAttributes {
  rows: number;
  width: number;
}

/** factor * sum of the rows' losses, as a scalar. */
export function sumOfRows<A extends object>(ctx: ForwardContext<A>, rowLoss: Tensor, factor: number): Tensor {
  const loss = ctx.empty([]);
  ctx.run(scaledSum, { n: rowLoss.size, factor }, { x: rowLoss, y: loss });
  return loss;
}

/** Sizes of logits [B, K]; throws unless they are that. */
export function sizesOf(logits: Tensor, where: string): { rows: number; width: number } {
  expectFloat(logits, where);
  const [rows, width] = logits.shape;
  if (logits.rank !== 2 || logits.size === 0) {
    throw new DeitError('shape-mismatch', 'Logits have two dimensions, batch and classes, neither empty.', {
      where,
      expected: '[B, K]',
      found: formatShape(logits.shape),
    });
  }
  return { rows, width };
}

export function expectLabels(labels: Tensor, rows: number, where: string): void {
  if (labels.dtype !== 'i32') {
    throw new DeitError('dtype-mismatch', 'Labels are i32.', { where, expected: 'i32', found: labels.toString() });
  }
  expectShape(labels.shape, [rows], where, 'the labels');
}

/** Targets and teachers get no gradient: one that asks for it is a mistake that must not pass in silence. */
export function expectConstant(constant: Tensor, logits: Tensor, where: string, what: string): void {
  expectFloat(constant, where);
  expectShape(constant.shape, logits.shape, where, what);
  if (constant.requiresGrad && constant.engine.gradEnabled) {
    throw new DeitError('no-gradient', `${where} has no gradient with respect to ${what}.`, {
      where,
      fix: 'compute it under engine.noGrad(), or detach() it',
    });
  }
}

/** Throws `bad-argument` unless `value` is from 0 to 1. `what` names it, as the beginning of a sentence. */
export function expectShare(value: number, where: string, what: string): void {
  if (value >= 0 && value <= 1) return;
  throw new DeitError('bad-argument', `${what} is a number from 0 to 1.`, { where, found: String(value) });
}
