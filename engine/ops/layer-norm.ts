import { fill } from '../../kernels/fill/index.ts';
import {
  layerNormBackward,
  layerNormBackwardPartials,
  layerNormColumns,
  layerNormForward,
  layerNormPartials,
  layerNormSumsColumns,
} from '../../kernels/layer-norm/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { expectFloat, expectF16 } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { expectShape, formatShape, numel } from '../tensor-shape.ts';
import type { BackwardContext } from '../tape.ts';
import type { Tensor } from '../tensor.ts';

interface LayerNormAttributes {
  rows: number;
  width: number;
  eps: number;
  /** The result, and its gradient, are f16. */
  half: boolean;
}

const layerNormOp = defineOp<LayerNormAttributes>({
  name: 'layerNorm',
  forward(ctx, [x, weight, bias]) {
    const { rows, width, half } = ctx.attributes;
    const y = ctx.empty(x!.shape, half ? 'f16' : 'f32');
    const stats = ctx.empty([rows, 2]);
    const problem = { ...ctx.attributes, weight: weight !== null, bias: bias !== null };
    const affine = { ...(weight && { weight }), ...(bias && { bias }) };
    if (rows * width > 0) ctx.run(layerNormForward, problem, { x: x!, y, stats, ...affine });
    ctx.save(x!, stats, ...(weight ? [weight] : []));
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, stats, weight] = ctx.saved;
    const operands = { x, stats, weight, dy: dy!, pending: ctx.needs(0) ? ctx.takePending(0) : null };
    gradients(ctx, operands, ctx.needs(0) ? ctx.gradientAndRounded(0) : null, [1, 2]);
  },
});

/**
 * Normalises the last dimension of x to mean 0 and variance 1, then scales by `weight` and adds `bias`, both
 * [width of x] or null. Shape of x, f32, or f16 for products of f16: the arithmetic is in f32 all the same. PyTorch's `F.layer_norm` over one dimension; eps as timm's ViTs have it.
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor | null,
  bias: Tensor | null,
  eps = 1e-6,
  dtype: 'f32' | 'f16' = 'f32',
): Tensor {
  if (dtype === 'f16') expectF16(x.engine, 'layerNorm');
  const attributes = { ...attributesOf(x, weight, bias, eps, 'layerNorm'), half: dtype === 'f16' };
  return layerNormOp([x, weight, bias], attributes)[0];
}

function attributesOf(
  x: Tensor,
  weight: Tensor | null,
  bias: Tensor | null,
  eps: number,
  where: string,
): LayerNormAttributes {
  expectFloat(x, where);
  if (x.rank === 0) {
    throw new DeitError('shape-mismatch', 'A scalar has no dimension to normalise.', {
      where,
      expected: 'at least one dimension',
      found: formatShape(x.shape),
    });
  }
  if (!(eps >= 0)) {
    throw new DeitError('bad-argument', 'eps is a number that is not negative.', { where, found: String(eps) });
  }
  const width = x.shape.at(-1)!;
  for (const [name, tensor] of Object.entries({ weight, bias })) {
    if (!tensor) continue;
    expectFloat(tensor, where);
    expectShape(tensor.shape, [width], where, name);
  }
  return { rows: numel(x.shape.slice(0, -1)), width, eps, half: false };
}

type Context = BackwardContext<LayerNormAttributes>;

interface Operands {
  x: Tensor;
  stats: Tensor;
  weight: Tensor | undefined;
  dy: Tensor;
  /** A gradient that is added to that of x. */
  pending: Tensor | null;
}

interface Results {
  dx: Tensor;
  /** Where dx is wanted in f16 too. */
  rounded: Tensor | null;
}

/** Writes the gradient of x unless that is null, and the gradients that are needed of weight and bias, which are the inputs of these numbers. */
function gradients(
  ctx: Context,
  { x, stats, weight, dy, pending }: Operands,
  results: Results | null,
  [weightInput, biasInput]: readonly [number, number],
): void {
  const { rows, width, half } = ctx.attributes;
  const { profile } = x.engine;
  const columns = ctx.needs(weightInput) || ctx.needs(biasInput);
  if (rows * width === 0) {
    for (const i of [weightInput, biasInput]) if (ctx.needs(i)) zero(ctx, i);
    return;
  }
  const sums = (scratch: number) => ({
    dweight: ctx.needs(weightInput) ? ctx.gradient(weightInput) : ctx.empty([width]),
    dbias: ctx.needs(biasInput) ? ctx.gradient(biasInput) : ctx.empty([width]),
    ...(scratch > 0 && { partials: ctx.empty([scratch]) }),
  });
  const rounded = results?.rounded ?? null;
  const problem = { rows, width, half, weight: weight !== undefined, pending: pending !== null, rounded: !!rounded };
  const together = results !== null && columns && layerNormSumsColumns(problem, profile);
  if (results) {
    const tensors = {
      ...{ x, stats, dy, dx: results.dx },
      ...(weight && { weight }),
      ...(pending && { pending }),
      ...(rounded && { rounded }),
    };
    if (together) Object.assign(tensors, sums(layerNormBackwardPartials(problem, profile)));
    ctx.run(layerNormBackward, { ...problem, columns: together }, tensors);
  }
  if (columns && !together) {
    const sum = { rows, width, half };
    ctx.run(layerNormColumns, sum, { x, stats, dy, ...sums(layerNormPartials(sum, profile)) });
  }
}

function zero(ctx: Context, i: number): void {
  const gradient = ctx.gradient(i);
  if (gradient.size > 0) ctx.run(fill, { n: gradient.size, value: 0 }, { y: gradient });
}
