/** Joining and parting tensors, by operators that move elements. */
import { DeitError } from '../../kernels/lib/errors.ts';
import { formatShape, normalizeDim } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { cat, reshape, slice } from './shape.ts';

/** x with a dimension of size 1 before dimension `dim`, or behind the last one. */
export function unsqueeze(x: Tensor, dim: number): Tensor {
  const d = normalizeDim(dim, x.rank + 1, 'unsqueeze');
  return reshape(x, [...x.shape.slice(0, d), 1, ...x.shape.slice(d)]);
}

/** x without its dimensions of size 1, or without those of `dims` that have it. */
export function squeeze(x: Tensor, dims?: number | readonly number[]): Tensor {
  const named = dims === undefined ? x.shape.map((_, d) => d) : typeof dims === 'number' ? [dims] : dims;
  const gone = new Set(named.map((dim) => normalizeDim(dim, x.rank, 'squeeze')));
  return reshape(
    x,
    x.shape.filter((size, d) => size !== 1 || !gone.has(d)),
  );
}

/** Tensors of one shape along a new dimension. */
export function stack(xs: readonly Tensor[], dim = 0): Tensor {
  return cat(
    xs.map((x) => unsqueeze(x, dim)),
    xs.length > 0 ? normalizeDim(dim, xs[0].rank + 1, 'stack') : dim,
  );
}

/** x in parts along `dim`: of `sizes` elements each (the last has what is left), or of the sizes listed. */
export function split(x: Tensor, sizes: number | readonly number[], dim = 0): Tensor[] {
  const length = x.shape[normalizeDim(dim, x.rank, 'split')];
  const list =
    typeof sizes === 'number'
      ? Array.from({ length: Math.max(1, Math.ceil(length / sizes)) }, (_, i) => Math.min(sizes, length - i * sizes))
      : sizes;
  const total = list.reduce((sum, size) => sum + size, 0);
  if (!list.every((size) => Number.isInteger(size) && size >= 0) || total !== length) {
    throw new DeitError('bad-argument', 'The parts do not make up the dimension.', {
      where: `split of ${formatShape(x.shape)} along dimension ${dim}`,
      expected: `a size from 1, or sizes with sum ${length}`,
      found: JSON.stringify(sizes),
    });
  }
  let start = 0;
  return list.map((size) => slice(x, dim, start, (start += size)));
}

/** x in at most `count` parts along `dim`, all but the last of one size. */
export function chunk(x: Tensor, count: number, dim = 0): Tensor[] {
  const length = x.shape[normalizeDim(dim, x.rank, 'chunk')];
  if (!Number.isInteger(count) || count < 1) {
    throw new DeitError('bad-argument', 'There is at least one chunk.', { where: 'chunk', found: String(count) });
  }
  return split(x, Math.max(1, Math.ceil(length / count)), dim);
}
