import { DeitError } from '../../kernels/lib/errors.ts';
import { argsort as argsortKernel } from '../../kernels/sort/index.ts';
import type { SortProblem } from '../../kernels/sort/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { normalizeDim, numel } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { gather } from './gather.ts';
import { slice } from './shape.ts';
import type { ValuesAndIndices } from './statistics.ts';

const argsortOp = defineOp<SortProblem>({
  name: 'argsort',
  forward(ctx, [x]) {
    const y = ctx.empty(x!.shape, 'i32');
    if (y.size > 0) ctx.run(argsortKernel, ctx.attributes, { x: x!, y });
    return [y];
  },
  backward: null,
});

/**
 * The indices (i32) that put x in order along `dim`. Equal elements stay in order, and NaN counts as larger than everything. They have
 * no gradient.
 */
export function argsort(x: Tensor, dim = -1, { descending = false } = {}): Tensor {
  expectFloat(x, 'argsort');
  const d = normalizeDim(dim, x.rank, 'argsort');
  const { shape } = x;
  const problem = {
    outer: numel(shape.slice(0, d)),
    length: shape[d] ?? 1,
    inner: numel(shape.slice(d + 1)),
    descending,
  };
  return argsortOp([x.detach()], problem)[0];
}

/** x in order along `dim`, as `argsort` orders it, and where each element was (i32). */
export function sort(x: Tensor, dim = -1, options: { descending?: boolean } = {}): ValuesAndIndices {
  const indices = argsort(x, dim, options);
  return { values: x.rank === 0 ? x : gather(x, dim, indices), indices };
}

/** The k largest elements along `dim` (the smallest, with `largest: false`), in order, and where they are (i32). */
export function topk(x: Tensor, k: number, dim = -1, { largest = true } = {}): ValuesAndIndices {
  const length = x.shape[normalizeDim(dim, x.rank, 'topk')] ?? 0;
  if (!Number.isInteger(k) || k < 1 || k > length) {
    throw new DeitError('bad-argument', 'There are not so many elements.', {
      where: `topk of ${x.toString()} along dimension ${dim}`,
      expected: `1 to ${length}`,
      found: String(k),
    });
  }
  const indices = slice(argsort(x, dim, { descending: largest }), dim, 0, k);
  return { values: gather(x, dim, indices), indices };
}
