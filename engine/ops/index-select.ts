import { DeitError } from '../../kernels/lib/errors.ts';
import { indexSelect as indexSelectKernel, indexSelectGradient } from '../../kernels/index-select/index.ts';
import type { IndexSelectProblem } from '../../kernels/index-select/index.ts';
import { defineOp } from '../op.ts';
import { normalizeDim, numel } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { expectWords } from './shape.ts';

/** What an index out of range selects: a NaN, or the largest number of an integer dtype. */
export const INVALID = { f32: 0x7fc00000, i32: 0x7fffffff, u32: 0xffffffff };

const indexSelectOp = defineOp<{ dim: number; problem: IndexSelectProblem }>({
  name: 'indexSelect',
  forward(ctx, inputs) {
    const [x, index] = [inputs[0]!, inputs[1]!];
    const { dim, problem } = ctx.attributes;
    const y = ctx.empty(
      x.shape.map((size, d) => (d === dim ? index.size : size)),
      x.dtype,
    );
    const invalid = INVALID[x.dtype as keyof typeof INVALID];
    if (y.size > 0) ctx.run(indexSelectKernel, { ...problem, invalid }, { x, index, y });
    ctx.save(index);
    return [y];
  },
  backward(ctx, [dy]) {
    const dx = ctx.gradient(0);
    if (dx.size > 0) ctx.run(indexSelectGradient, ctx.attributes.problem, { dy: dy!, index: ctx.saved[0], y: dx });
  },
});

/**
 * The indices `index` (i32, one dimension) of x along `dim`, in that order. Equal indices add up in the gradient. An index
 * out of range gives NaN, since it cannot be checked without reading it back.
 */
export function indexSelect(x: Tensor, dim: number, index: Tensor): Tensor {
  expectWords(x, 'indexSelect');
  const d = normalizeDim(dim, x.rank, 'indexSelect');
  if (index.dtype !== 'i32' || index.rank !== 1 || x.rank === 0) {
    throw new DeitError('dtype-mismatch', 'indexSelect() takes a tensor with dimensions and a list of i32 indices.', {
      where: 'indexSelect',
      expected: 'an i32 tensor of one dimension',
      found: `${index.toString()} for ${x.toString()}`,
    });
  }
  const problem = {
    outer: numel(x.shape.slice(0, d)),
    length: x.shape[d],
    inner: numel(x.shape.slice(d + 1)),
    count: index.size,
  };
  return indexSelectOp([x, index], { dim: d, problem })[0];
}
