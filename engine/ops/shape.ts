import { DeitError } from '../../kernels/lib/errors.ts';
import { mergeStrided, pad as padKernel, stridedLoad, stridedStore } from '../../kernels/shape/index.ts';
import type { StridedProblem } from '../../kernels/shape/index.ts';
import { defineOp } from '../op.ts';
import { formatShape, normalizeDim, numel, sameShape } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { broadcastDims, reduceInto } from './reduce.ts';

/** Throws `dtype-mismatch` for f16, which these operators do not move. */
export function expectWords(x: Tensor, where: string): void {
  if (x.dtype !== 'f16') return;
  throw new DeitError('dtype-mismatch', 'The operator takes tensors of 32-bit elements.', {
    where,
    expected: 'f32, i32 or u32',
    found: x.toString(),
    fix: "convert with to(x, 'f32')",
  });
}

/** Elements from one index of each dimension to the next. */
export function contiguousStrides(shape: Shape): number[] {
  return shape.map((_, d) => numel(shape.slice(d + 1)));
}

// ---- reshape

const reshapeOp = defineOp<{ shape: Shape }>({
  name: 'reshape',
  forward: (ctx, [x]) => [x!.viewAs(ctx.attributes.shape)],
  backward(ctx, [dy]) {
    ctx.pass(0, dy!.viewAs(ctx.inputShape(0)));
  },
});

/** The same elements under another shape, of which one size may be -1. Shares memory; nothing is dispatched. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = numel(shape.filter((size) => size !== -1));
  const unknown = shape.filter((size) => size === -1).length;
  const full = unknown === 1 && known > 0 ? shape.map((size) => (size === -1 ? x.size / known : size)) : shape;
  if (unknown > 1 || !full.every((size) => Number.isInteger(size) && size >= 0) || numel(full) !== x.size) {
    throw new DeitError('shape-mismatch', 'The tensor cannot take this shape.', {
      where: 'reshape',
      expected: `sizes with product ${x.size}, at most one of them -1`,
      found: formatShape(shape),
    });
  }
  return reshapeOp([x], { shape: full })[0];
}

// ---- what reads through strides

interface Strided {
  readonly shape: Shape;
  readonly problem: StridedProblem;
}

/** An operator that gathers; `gradient` writes dx from dy. */
function gathering<Attributes extends Strided>(
  name: string,
  gradient: NonNullable<Parameters<typeof defineOp<Attributes>>[0]['backward']>,
) {
  return defineOp<Attributes>({
    name,
    forward(ctx, [x]) {
      const { shape, problem } = ctx.attributes;
      const [dim, ...others] = mergeStrided(problem.dims);
      // Where nothing moves, the result shares memory.
      if (others.length === 0 && dim.stride === 1 && problem.offset === 0 && dim.size === x!.size) {
        return [x!.viewAs(shape)];
      }
      const y = ctx.empty(shape, x!.dtype);
      if (y.size > 0) ctx.run(stridedLoad, problem, { x: x!, y });
      return [y];
    },
    backward: gradient,
  });
}

const stridedBy = (shape: Shape, strides: readonly number[], offset = 0): StridedProblem => ({
  dims: shape.map((size, d) => ({ size, stride: strides[d] })),
  offset,
});

const permuteOp = gathering<Strided & { dims: readonly number[] }>('permute', (ctx, [dy]) => {
  const dx = ctx.gradient(0);
  if (dx.size === 0) return;
  const strides = contiguousStrides(dy!.shape);
  const inverse = ctx.attributes.dims.map((_, d) => ctx.attributes.dims.indexOf(d));
  const problem = stridedBy(
    dx.shape,
    inverse.map((d) => strides[d]),
  );
  ctx.run(stridedLoad, problem, { x: dy!, y: dx });
});

/** The tensor with its dimensions in the order `dims`; a copy, unless only dimensions of size 1 move. */
export function permute(x: Tensor, dims: readonly number[]): Tensor {
  expectWords(x, 'permute');
  const normal = dims.map((dim) => normalizeDim(dim, x.rank, 'permute'));
  if (normal.length !== x.rank || new Set(normal).size !== x.rank) {
    throw new DeitError('bad-argument', 'Each dimension must be named once.', {
      where: `permute of ${x.toString()}`,
      found: formatShape(dims),
    });
  }
  const strides = contiguousStrides(x.shape);
  const shape = normal.map((d) => x.shape[d]);
  const problem = stridedBy(
    shape,
    normal.map((d) => strides[d]),
  );
  return permuteOp([x], { shape, problem, dims: normal })[0];
}

/** The tensor with two of its dimensions exchanged. */
export function transpose(x: Tensor, dim0: number, dim1: number): Tensor {
  const dims = x.shape.map((_, d) => d);
  const [a, b] = [dim0, dim1].map((dim) => normalizeDim(dim, x.rank, 'transpose'));
  if (x.rank > 0) [dims[a], dims[b]] = [b, a];
  return permute(x, dims);
}

const expandOp = gathering<Strided>('expand', (ctx, [dy]) => {
  const shape = ctx.inputShape(0);
  if (sameShape(shape, dy!.shape)) ctx.pass(0, dy!);
  else reduceInto(ctx, 'sum', dy!, broadcastDims(shape, dy!.shape), ctx.gradient(0));
});

/** The tensor repeated along its dimensions of size 1 (and new ones in front) up to `shape`; -1 keeps a size. */
export function expand(x: Tensor, shape: Shape): Tensor {
  expectWords(x, 'expand');
  const added = shape.length - x.rank;
  const full = shape.map((size, d) => (size === -1 ? (x.shape[d - added] ?? -1) : size));
  if (
    added < 0 ||
    full.some((size, d) => size < 0 || (d >= added && x.shape[d - added] !== 1 && size !== x.shape[d - added]))
  ) {
    throw new DeitError('shape-mismatch', 'The tensor cannot be expanded to this shape.', {
      where: `expand of ${x.toString()}`,
      expected: 'as many dimensions or more, and other sizes only where the tensor has 1',
      found: formatShape(shape),
    });
  }
  const own = contiguousStrides(x.shape);
  const strides = full.map((_, d) => (d < added || x.shape[d - added] === 1 ? 0 : own[d - added]));
  return expandOp([x], { shape: full, problem: stridedBy(full, strides) })[0];
}

const flipOp = gathering<Strided>('flip', (ctx, [dy]) => {
  const dx = ctx.gradient(0);
  // Its own inverse.
  if (dx.size > 0) ctx.run(stridedLoad, ctx.attributes.problem, { x: dy!, y: dx });
});

/** The tensor with the order along one dimension reversed. */
export function flip(x: Tensor, dim: number): Tensor {
  expectWords(x, 'flip');
  const d = normalizeDim(dim, x.rank, 'flip');
  const strides = contiguousStrides(x.shape);
  const offset = x.rank > 0 ? (x.shape[d] - 1) * strides[d] : 0;
  strides[d] *= -1;
  return flipOp([x], { shape: x.shape, problem: stridedBy(x.shape, strides, offset) })[0];
}

// ---- parts

const sliceOp = gathering<Strided & { dim: number; start: number }>('slice', (ctx, [dy]) => {
  const { dim, start } = ctx.attributes;
  const dx = ctx.gradient(0);
  if (dx.size === 0) return;
  if (dy!.size === 0) {
    ctx.run(
      padKernel,
      { outer: 1, rows: 0, columns: 1, left: 0, right: 0, top: 0, bottom: dx.size },
      { x: dy!, y: dx },
    );
    return;
  }
  const rows = dy!.shape[dim];
  const problem = {
    outer: numel(dx.shape.slice(0, dim)),
    rows,
    columns: numel(dx.shape.slice(dim + 1)),
    left: 0,
    right: 0,
    top: start,
    bottom: dx.shape[dim] - start - rows,
  };
  ctx.run(padKernel, problem, { x: dy!, y: dx });
});

/** The part of `size` indices from `start` on of one dimension of a tensor of shape `whole`, as strides into it. */
function partOf(whole: Shape, dim: number, start: number, size: number): Strided {
  const shape = whole.map((own, d) => (d === dim ? size : own));
  const strides = contiguousStrides(whole);
  return { shape, problem: stridedBy(shape, strides, start * strides[dim]) };
}

/**
 * Indices start to end (exclusive) along one dimension, as x[..., start:end, ...] in PyTorch: negative ones count from
 * the end, and both are clamped to the dimension.
 */
export function slice(x: Tensor, dim: number, start = 0, end = Infinity): Tensor {
  expectWords(x, 'slice');
  if (x.rank === 0) {
    throw new DeitError('bad-argument', 'A tensor without dimensions cannot be sliced.', { where: 'slice' });
  }
  const d = normalizeDim(dim, x.rank, 'slice');
  const length = x.shape[d];
  const clamped = [start, end].map((index) => Math.min(Math.max(index < 0 ? index + length : index, 0), length));
  if (!clamped.every(Number.isInteger)) {
    throw new DeitError('bad-argument', 'Bounds of a slice are whole numbers.', {
      where: 'slice',
      found: `${start} to ${end}`,
    });
  }
  const size = Math.max(0, clamped[1] - clamped[0]);
  return sliceOp([x], { ...partOf(x.shape, d, clamped[0], size), dim: d, start: clamped[0] })[0];
}

const catOp = defineOp<{ dim: number; shape: Shape; count: number }>({
  name: 'cat',
  forward(ctx, xs) {
    const { dim, shape } = ctx.attributes;
    const y = ctx.empty(shape, xs[0]!.dtype);
    let start = 0;
    for (const x of xs) {
      const size = x!.shape[dim];
      if (x!.size > 0) ctx.run(stridedStore, partOf(shape, dim, start, size).problem, { x: x!, y });
      start += size;
    }
    return [y];
  },
  backward(ctx, [dy]) {
    const { dim, shape, count } = ctx.attributes;
    let start = 0;
    for (let i = 0; i < count; i++) {
      const size = ctx.inputShape(i)[dim];
      if (ctx.needs(i)) {
        const dx = ctx.gradient(i);
        if (dx.size > 0) ctx.run(stridedLoad, partOf(shape, dim, start, size).problem, { x: dy!, y: dx });
      }
      start += size;
    }
  },
});

/** Tensors joined along one dimension; their other sizes are equal. */
export function cat(xs: readonly Tensor[], dim = 0): Tensor {
  if (xs.length === 0) throw new DeitError('bad-argument', 'There is nothing to join.', { where: 'cat' });
  const [first] = xs;
  const d = normalizeDim(dim, first.rank, 'cat');
  for (const x of xs) {
    expectWords(x, 'cat');
    const fits = x.rank === first.rank && x.rank > 0 && x.shape.every((size, i) => i === d || size === first.shape[i]);
    if (fits && x.dtype === first.dtype) continue;
    throw new DeitError('shape-mismatch', 'The tensors cannot be joined.', {
      where: `cat along dimension ${dim}`,
      expected: `the dtype and the other sizes of ${first.toString()}`,
      found: x.toString(),
    });
  }
  const total = xs.reduce((sum, x) => sum + x.shape[d], 0);
  const shape = first.shape.map((size, i) => (i === d ? total : size));
  return catOp(xs, { dim: d, shape, count: xs.length })[0];
}

/** Zeros around the last two dimensions: left, right, top, bottom. */
export type Padding = readonly [left: number, right: number, top: number, bottom: number];

const padOp = defineOp<{ padding: Padding }>({
  name: 'pad',
  forward(ctx, [x]) {
    const [left, right, top, bottom] = ctx.attributes.padding;
    const [rows, columns] = x!.shape.slice(-2);
    const lead = x!.shape.slice(0, -2);
    const y = ctx.empty([...lead, rows + top + bottom, columns + left + right], x!.dtype);
    const problem = { outer: numel(lead), rows, columns, left, right, top, bottom };
    if (y.size > 0) ctx.run(padKernel, problem, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    const [left, , top] = ctx.attributes.padding;
    const dx = ctx.gradient(0);
    if (dx.size === 0) return;
    const strides = contiguousStrides(dy!.shape);
    const width = dy!.shape.at(-1)!;
    ctx.run(stridedLoad, stridedBy(dx.shape, strides, top * width + left), { x: dy!, y: dx });
  },
});

/** The tensor with zeros around its last two dimensions. PyTorch's F.pad(x, [left, right, top, bottom]). */
export function pad(x: Tensor, padding: readonly number[]): Tensor {
  expectWords(x, 'pad');
  if (x.rank < 2 || padding.length !== 4 || !padding.every((size) => Number.isInteger(size) && size >= 0)) {
    throw new DeitError('bad-argument', 'The padding does not fit.', {
      where: `pad of ${x.toString()}`,
      expected: 'a tensor of two dimensions or more, and [left, right, top, bottom], none negative',
      found: formatShape(padding),
    });
  }
  return padOp([x], { padding: [padding[0], padding[1], padding[2], padding[3]] })[0];
}
