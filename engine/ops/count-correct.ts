import { topHits } from '../../kernels/count-correct/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { scaledSum } from '../../kernels/loss/scaled-sum.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { expectLabels, sizesOf } from './loss/operands.ts';
import type { LossAttributes } from './loss/operands.ts';

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
