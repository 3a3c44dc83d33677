import { fill } from '../../kernels/fill/index.ts';
import { layerNormBackward, layerNormForward } from '../../kernels/layer-norm/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { expectShape, formatShape, numel } from '../tensor-shape.ts';
import type { BackwardContext } from '../tape.ts';
import type { Tensor } from '../tensor.ts';

interface LayerNormAttributes {
  rows: number;
  width: number;
  eps: number;
}

const layerNormOp = defineOp<LayerNormAttributes>({
  name: 'layerNorm',
  precision: { operands: 'f32', result: 'consumer' },
  forward(ctx, [x, weight, bias]) {
    const { rows, width } = ctx.attributes;
    const y = ctx.result(x!.shape);
    const stats = ctx.empty([rows, 2]);
    const f16 = y.dtype === 'f16';
    const problem = { ...ctx.attributes, weight: weight !== null, bias: bias !== null, f16 };
    const affine = { ...(weight && { weight }), ...(bias && { bias }) };
    if (rows * width > 0) ctx.run(layerNormForward, problem, { x: x!, y, stats, ...affine });
    ctx.save(x!, stats, ...(weight ? [weight] : []));
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, stats, weight] = ctx.saved;
    const { rows, width } = ctx.attributes;
    const f16 = dy!.dtype === 'f16';
    const affine = ctx.needs(1) || ctx.needs(2);
    const pending = ctx.needs(0) ? ctx.takePending(0) : null;
    const none = { dx: null, operand: null, rowScale: null };
    const { dx, operand, rowScale } = ctx.needs(0) ? ctx.gradientAndOperand(0) : none;
    if (rows * width === 0) {
      for (const i of [1, 2]) if (ctx.needs(i)) zero(ctx, i);
      return;
    }
    const problem = {
      rows,
      width,
      f16,
      weight: weight !== undefined,
      pending: pending !== null,
      dx: dx !== null,
      affine,
    };
    const copy = operand && { copy: operand.dtype as 'f16' | 'f32', rowScale: rowScale !== null };
    const column = (i: number): Tensor => (ctx.needs(i) ? ctx.gradient(i) : ctx.empty([width]));
    ctx.run(
      layerNormBackward,
      { ...problem, ...copy },
      {
        ...{ x, stats, dy: dy! },
        ...(weight && { weight }),
        ...(dx && { dx }),
        ...(pending && { pending }),
        ...(operand && { copy: operand }),
        ...(rowScale && { row_scale: rowScale }),
        ...(affine && { dweight: column(1), dbias: column(2) }),
      },
    );
  },
});

/**
 * Normalises the last dimension of x to mean 0 and variance 1, then scales by `weight` and adds `bias`, both
 * [width of x] or null. Shape of x. Under autocast the result is f16 if a product takes it first; the arithmetic is in f32
 * all the same. PyTorch's `F.layer_norm` over one dimension; eps as timm's ViTs have it.
 */
export function layerNorm(x: Tensor, weight: Tensor | null, bias: Tensor | null, eps = 1e-6): Tensor {
  return layerNormOp([x, weight, bias], attributesOf(x, weight, bias, eps, 'layerNorm'))[0];
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
  return { rows: numel(x.shape.slice(0, -1)), width, eps };
}

function zero(ctx: BackwardContext<LayerNormAttributes>, i: number): void {
  const gradient = ctx.gradient(i);
  if (gradient.size > 0) ctx.run(fill, { n: gradient.size, value: 0 }, { y: gradient });
}
