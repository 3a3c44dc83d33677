/** Reductions that are made of others. */
import { DeitError } from '../../kernels/lib/errors.ts';
import { normalizeDim, numel } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { argmax } from './argmax.ts';
import { add, div, eq, ne, pow, sub } from './binary.ts';
import { gather } from './gather.ts';
import { amax, mean, sum } from './reduce.ts';
import { reshape } from './shape.ts';
import { abs, exp, log, neg, sqrt, square } from './unary.ts';
import { where } from './where.ts';

type Dims = number | readonly number[];

/**
 * The minimum over `dims` (all dimensions if absent), NaN if one of the elements is. Elements that tie for it share the
 * gradient evenly.
 */
export const amin = (x: Tensor, dims?: Dims, keepdim = false): Tensor => neg(amax(neg(x), dims, keepdim));

/** An extremum along one dimension, and where it is. */
export interface ValuesAndIndices {
  readonly values: Tensor;
  /** i32. */
  readonly indices: Tensor;
}

function along(x: Tensor, indices: Tensor, dim: number, keepdim: boolean, where: string): ValuesAndIndices {
  const d = normalizeDim(dim, x.rank, where);
  const kept = x.shape.map((size, i) => (i === d ? 1 : size));
  const values = x.rank === 0 ? x : gather(x, d, indices.viewAs(kept));
  return {
    values: keepdim ? values : reshape(values, indices.shape),
    indices: keepdim ? indices.viewAs(kept) : indices,
  };
}

/** The largest element; with a dimension, the largest along it and its index (the first, where several tie), which has the gradient. */
export function max(x: Tensor): Tensor;
export function max(x: Tensor, dim: number, keepdim?: boolean): ValuesAndIndices;
export function max(x: Tensor, dim?: number, keepdim = false): Tensor | ValuesAndIndices {
  return dim === undefined ? amax(x) : along(x, argmax(x, dim), dim, keepdim, 'max');
}

/** Index of the first smallest element along `dim` as i32 (NaN counts as smallest). It has no gradient. */
export const argmin = (x: Tensor, dim = -1): Tensor => argmax(neg(x.detach()), dim);

/** The smallest element; with a dimension, the smallest along it and its index, as `max`. */
export function min(x: Tensor): Tensor;
export function min(x: Tensor, dim: number, keepdim?: boolean): ValuesAndIndices;
export function min(x: Tensor, dim?: number, keepdim = false): Tensor | ValuesAndIndices {
  return dim === undefined ? amin(x) : along(x, argmin(x, dim), dim, keepdim, 'min');
}

/**
 * The variance over `dims` (all dimensions if absent): the sum of squared distances from the mean, divided by the count less
 * `correction`, which makes it unbiased. PyTorch's `torch.var`.
 */
export function variance(x: Tensor, dims?: Dims, { correction = 1, keepdim = false } = {}): Tensor {
  const center = mean(x, dims, true);
  const total = sum(square(sub(x, center)), dims, keepdim);
  return div(total, Math.max(0, x.size / numel(center.shape) - correction));
}

/** The root of x where it is not 0, and 0 without a gradient where it is. */
function rootOrZero(x: Tensor): Tensor {
  const isZero = eq(x, 0);
  return where(isZero, 0, sqrt(where(isZero, 1, x)));
}

/** The standard deviation: the root of `variance`. Where it is 0 the gradient is 0. */
export const std = (x: Tensor, dims?: Dims, options: { correction?: number; keepdim?: boolean } = {}): Tensor =>
  rootOrZero(variance(x, dims, options));

/**
 * The p-norm over `dims` (all dimensions if absent): (sum |x|^p)^(1/p); the largest |x| for Infinity, the smallest for -Infinity, the
 * count of what is not 0 for 0. Where the 2-norm is 0 the gradient is 0. PyTorch's `torch.linalg.vector_norm`.
 */
export function norm(x: Tensor, p = 2, dims?: Dims, keepdim = false): Tensor {
  if (Number.isNaN(p))
    throw new DeitError('bad-argument', 'The order of a norm is a number.', { where: 'norm', found: 'NaN' });
  if (p === 2) return rootOrZero(sum(square(x), dims, keepdim));
  if (p === 0) return sum(ne(x, 0), dims, keepdim);
  const size = abs(x);
  if (p === 1) return sum(size, dims, keepdim);
  if (p === Infinity) return amax(size, dims, keepdim);
  if (p === -Infinity) return amin(size, dims, keepdim);
  return pow(sum(pow(size, p), dims, keepdim), 1 / p);
}

/** log(sum(exp(x))) over `dims` (all dimensions if absent), with the largest element taken out, so that nothing overflows. */
export function logsumexp(x: Tensor, dims?: Dims, keepdim = false): Tensor {
  const most = amax(x.detach(), dims, true);
  // An infinite one cannot be taken out.
  const shift = where(eq(abs(most), Infinity), 0, most);
  const total = log(sum(exp(sub(x, shift)), dims, keepdim));
  return add(total, shift.viewAs(total.shape));
}
