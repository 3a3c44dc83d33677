import { DeitError } from '../../kernels/lib/errors.ts';
import { reduce, spread, tieGradient, tieMask } from '../../kernels/reduce/index.ts';
import type { ReduceProblem } from '../../kernels/reduce/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { formatShape, normalizeDim, numel } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import type { Workspace } from '../workspace.ts';

/** Whether each dimension of `shape` is one along which an operand of shape `own` was broadcast. */
export function broadcastDims(own: Shape, shape: Shape): boolean[] {
  return shape.map((size, d) => size !== 1 && (own[own.length - shape.length + d] ?? 1) === 1);
}

/**
 * y = x reduced over the dimensions for which `reduced` holds; a sum is divided by `divisor`. Neighbouring dimensions are
 * taken at once, the last ones first; x may be f16 for a sum, y is f32. For use inside operators.
 */
export function reduceInto(
  ctx: Workspace,
  op: ReduceProblem['op'],
  x: Tensor,
  reduced: readonly boolean[],
  y: Tensor,
  divisor = 1,
): void {
  if (y.size === 0) return;
  // Runs of dimensions that are all reduced or all kept.
  const runs: { size: number; reduced: boolean }[] = [];
  x.shape.forEach((size, d) => {
    if (size === 1) return;
    const last = runs.at(-1);
    if (last?.reduced === reduced[d]) last.size *= size;
    else runs.push({ size, reduced: reduced[d] });
  });
  if (!runs.some((run) => run.reduced)) runs.unshift({ size: 1, reduced: true });
  let from = x;
  for (let i = runs.length - 1; i >= 0; i--) {
    if (!runs[i].reduced) continue;
    const product = (part: typeof runs) => part.reduce((size, run) => size * run.size, 1);
    const problem: ReduceProblem = {
      op,
      outer: product(runs.slice(0, i)),
      reduce: runs[i].size,
      inner: product(runs.slice(i + 1)),
    };
    runs.splice(i, 1);
    const last = !runs.some((run) => run.reduced);
    if (last && divisor !== 1) problem.divisor = divisor;
    if (from.dtype === 'f16') problem.f16 = true;
    const to = last ? y : ctx.empty([problem.outer * problem.inner]);
    ctx.run(reduce, problem, { x: from, y: to });
    from = to;
  }
}

interface Attributes {
  readonly reduced: readonly boolean[];
  /** Shape of the result, and with the reduced dimensions as 1. */
  readonly shape: Shape;
  readonly kept: Shape;
}

function attributesOf(x: Tensor, dims: number | readonly number[] | undefined, keepdim: boolean, where: string) {
  expectFloat(x, where);
  const reduced = x.shape.map(() => dims === undefined);
  for (const dim of dims === undefined ? [] : typeof dims === 'number' ? [dims] : dims) {
    const d = normalizeDim(dim, x.rank, where);
    if (reduced[d]) {
      throw new DeitError('bad-argument', 'A dimension is named twice.', { where, found: JSON.stringify(dims) });
    }
    if (x.rank > 0) reduced[d] = true;
  }
  const kept = x.shape.map((size, d) => (reduced[d] ? 1 : size));
  const shape = keepdim ? kept : x.shape.filter((_, d) => !reduced[d]);
  return { reduced, kept, shape };
}

/** Elements that go into one result. */
const countOf = (x: Shape, { kept }: Attributes): number => numel(x) / numel(kept);

function summing(name: 'sum' | 'mean') {
  const divisor = (x: Shape, attributes: Attributes) => (name === 'mean' ? countOf(x, attributes) : 1);
  return defineOp<Attributes>({
    name,
    forward(ctx, [x]) {
      const y = ctx.empty(ctx.attributes.shape);
      reduceInto(ctx, 'sum', x!, ctx.attributes.reduced, y, divisor(x!.shape, ctx.attributes));
      return [y];
    },
    backward(ctx, [dy]) {
      const shape = ctx.inputShape(0);
      const { kept } = ctx.attributes;
      const problem = { shape, kept, divisor: divisor(shape, ctx.attributes) };
      ctx.run(spread, problem, { dy_data: dy!, y_data: ctx.gradient(0) });
    },
  });
}

const sumOp = summing('sum');
const meanOp = summing('mean');

const amaxOp = defineOp<Attributes>({
  name: 'amax',
  forward(ctx, [x]) {
    const y = ctx.empty(ctx.attributes.shape);
    reduceInto(ctx, 'amax', x!, ctx.attributes.reduced, y);
    ctx.save(x!, y);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, y] = ctx.saved;
    const { kept, reduced } = ctx.attributes;
    const problem = { shape: x.shape, kept };
    const mask = ctx.empty(x.shape);
    ctx.run(tieMask, problem, { x_data: x, maximum_data: y, y_data: mask });
    const ties = ctx.empty(kept);
    reduceInto(ctx, 'sum', mask, reduced, ties);
    const dx = ctx.gradient(0);
    ctx.run(tieGradient, problem, { x_data: x, maximum_data: y, ties_data: ties, dy_data: dy!, y_data: dx });
  },
});

/** Throws `shape-mismatch` if there is nothing to reduce. */
export function expectElements(x: Tensor, where: string): void {
  if (x.size > 0) return;
  throw new DeitError('shape-mismatch', 'An empty tensor cannot be reduced.', { where, found: formatShape(x.shape) });
}

/** The sum over `dims` (all dimensions if absent). With `keepdim` the reduced dimensions stay, as 1. */
export function sum(x: Tensor, dims?: number | readonly number[], keepdim = false): Tensor {
  const attributes = attributesOf(x, dims, keepdim, 'sum');
  expectElements(x, 'sum');
  return sumOp([x], attributes)[0];
}

/** The mean over `dims` (all dimensions if absent). With `keepdim` the reduced dimensions stay, as 1. */
export function mean(x: Tensor, dims?: number | readonly number[], keepdim = false): Tensor {
  const attributes = attributesOf(x, dims, keepdim, 'mean');
  expectElements(x, 'mean');
  return meanOp([x], attributes)[0];
}

/**
 * The maximum over `dims` (all dimensions if absent), NaN if one of the elements is. Elements that tie for it share the
 * gradient evenly.
 */
export function amax(x: Tensor, dims?: number | readonly number[], keepdim = false): Tensor {
  const attributes = attributesOf(x, dims, keepdim, 'amax');
  expectElements(x, 'amax');
  return amaxOp([x], attributes)[0];
}
