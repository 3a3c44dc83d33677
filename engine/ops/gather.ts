import { DeitError } from '../../kernels/lib/errors.ts';
import { gatherElements, gatherGradient } from '../../kernels/gather/index.ts';
import type { GatherProblem } from '../../kernels/gather/index.ts';
import { defineOp } from '../op.ts';
import { formatShape, normalizeDim, numel } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { INVALID, indexSelect } from './index-select.ts';
import { expectWords, reshape, slice } from './shape.ts';

/** The problem of lines along `dim` of x that `index` has as many of. */
export const linesAlong = (x: Shape, index: Shape, dim: number): GatherProblem => ({
  outer: numel(x.slice(0, dim)),
  length: x[dim],
  inner: numel(x.slice(dim + 1)),
  count: index[dim],
});

/** Throws unless `index` is an i32 tensor of as many dimensions as x, and fits it but along `dim`. Returns `dim`, from 0. */
export function expectIndex(
  x: Tensor,
  dim: number,
  index: Tensor,
  where: string,
  fits: (d: number) => boolean,
): number {
  const d = normalizeDim(dim, x.rank, where);
  if (index.dtype !== 'i32') {
    throw new DeitError('dtype-mismatch', 'Indices are i32.', {
      where,
      expected: 'i32',
      found: index.toString(),
      fix: "convert them with to('i32')",
    });
  }
  if (x.rank === 0 || index.rank !== x.rank || !x.shape.every((_, i) => i === d || fits(i))) {
    throw new DeitError('shape-mismatch', 'The indices do not fit the tensor.', {
      where: `${where} along dimension ${dim}`,
      expected: `as many dimensions as ${formatShape(x.shape)}, and sizes that fit it but for that one`,
      found: formatShape(index.shape),
    });
  }
  return d;
}

const gatherOp = defineOp<GatherProblem>({
  name: 'gather',
  forward(ctx, inputs) {
    const [x, index] = [inputs[0]!, inputs[1]!];
    const y = ctx.empty(index.shape, x.dtype);
    const invalid = INVALID[x.dtype as keyof typeof INVALID];
    if (y.size > 0) ctx.run(gatherElements, { ...ctx.attributes, invalid }, { x, index, y });
    ctx.save(index);
    return [y];
  },
  backward(ctx, [dy]) {
    const dx = ctx.gradient(0);
    if (dx.size > 0) ctx.run(gatherGradient, ctx.attributes, { dy: dy!, index: ctx.saved[0], y: dx });
  },
});

/**
 * y[..., k, ...] = x[..., index[..., k, ...], ...] along `dim`: the shape of `index` (i32), which is not larger than x but along
 * `dim`. Equal indices add up in the gradient. An index out of range gives NaN, since it cannot be checked without reading it back.
 */
export function gather(x: Tensor, dim: number, index: Tensor): Tensor {
  expectWords(x, 'gather');
  const d = expectIndex(x, dim, index, 'gather', (i) => index.shape[i] <= x.shape[i]);
  const part = x.shape.reduce(
    (y, size, i) => (i === d || index.shape[i] === size ? y : slice(y, i, 0, index.shape[i])),
    x,
  );
  return gatherOp([part, index], linesAlong(part.shape, index.shape, d))[0];
}

/** Rows of `weight` [count, width] by `indices` (i32, any shape): [...indices, width]. PyTorch's `F.embedding`. */
export function embedding(indices: Tensor, weight: Tensor): Tensor {
  if (weight.rank !== 2) {
    throw new DeitError('shape-mismatch', 'The weight of an embedding is a matrix.', {
      where: 'embedding',
      expected: '[count, width]',
      found: formatShape(weight.shape),
    });
  }
  const rows = indexSelect(weight, 0, reshape(indices, [indices.size]));
  return reshape(rows, [...indices.shape, weight.shape[1]]);
}
