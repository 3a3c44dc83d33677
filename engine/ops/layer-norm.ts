import { fill } from '../../kernels/fill/index.ts';
import { layerNormBackward, layerNormForward } from '../../kernels/layer-norm/index.ts';
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
  f16: boolean;
}

const layerNormOp = defineOp<LayerNormAttributes>({
  name: 'layerNorm',
  forward(ctx, [x, weight, bias]) {
    const { rows, width, f16 } = ctx.attributes;
    const y = ctx.empty(x!.shape, f16 ? 'f16' : 'f32');
    const stats = ctx.empty([rows, 2]);
    const problem = { ...ctx.attributes, weight: weight !== null, bias: bias !== null };
    const affine = { ...(weight && { weight }), ...(bias && { bias }) };
    if (rows * width > 0) ctx.run(layerNormForward, problem, { x: x!, y, stats, ...affine });
    ctx.save(x!, stats, ...(weight ? [weight] : []));
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, stats, weight] = ctx.saved;
    const { rows, width, f16 } = ctx.attributes;
    const affine = ctx.needs(1) || ctx.needs(2);
    const pending = ctx.needs(0) ? ctx.takePending(0) : null;
    const { dx, rounded } = ctx.needs(0) ? ctx.gradientAndRounded(0) : { dx: null, rounded: null };
    if (rows * width === 0) {
      for (const i of [1, 2]) if (ctx.needs(i)) zero(ctx, i);
      return;
    }
    const problem = { rows, width, f16, weight: weight !== undefined, pending: pending !== null, rounded: !!rounded };
    const column = (i: number): Tensor => (ctx.needs(i) ? ctx.gradient(i) : ctx.empty([width]));
    ctx.run(
      layerNormBackward,
      { ...problem, dx: dx !== null, affine },
      {
        ...{ x, stats, dy: dy! },
        ...(weight && { weight }),
        ...(dx && { dx }),
        ...(pending && { pending }),
        ...(rounded && { rounded }),
        ...(affine && { dweight: column(1), dbias: column(2) }),
      },
    );
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
  const attributes = { ...attributesOf(x, weight, bias, eps, 'layerNorm'), f16: dtype === 'f16' };
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
  return { rows: numel(x.shape.slice(0, -1)), width, eps, f16: false };
}

function zero(ctx: BackwardContext<LayerNormAttributes>, i: number): void {
  const gradient = ctx.gradient(i);
  if (gradient.size > 0) ctx.run(fill, { n: gradient.size, value: 0 }, { y: gradient });
}
