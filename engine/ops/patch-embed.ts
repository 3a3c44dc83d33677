import { DeitError } from '../../kernels/lib/errors.ts';
import { patchEmbedForward, patchEmbedImage, patchEmbedWeight } from '../../kernels/patch-embed/index.ts';
import type { PatchEmbedProblem } from '../../kernels/patch-embed/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { expectShape, formatShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { reduceInto } from './reduce.ts';

/** The problem of a pass over these tensors. */
function inStorage(
  problem: PatchEmbedProblem,
  tensors: { x: Tensor; w: Tensor; dx?: Tensor; dy?: Tensor },
): PatchEmbedProblem {
  const f16 = (['x', 'w', 'dx', 'dy'] as const).filter((name) => tensors[name]?.dtype === 'f16');
  return f16.length > 0 ? { ...problem, f16 } : problem;
}

const patchEmbedOp = defineOp<PatchEmbedProblem>({
  name: 'patchEmbed',
  precision: { operands: ['f16', 'weight'], gradient: 'f16' },
  forward(ctx, inputs) {
    const [x, w, bias] = inputs as Tensor[];
    const { batch, gridHeight, gridWidth, width } = ctx.attributes;
    const y = ctx.result([batch, gridHeight * gridWidth, width]);
    ctx.run(patchEmbedForward, inStorage(ctx.attributes, { x, w }), { x, w, bias, y });
    ctx.save(x, w);
    return [y];
  },
  backward(ctx, [gradient]) {
    const [x, w] = ctx.saved;
    const problem = ctx.attributes;
    const dy = ctx.forProducts(gradient!);
    if (ctx.needs(0)) {
      const dx = ctx.gradient(0);
      ctx.run(patchEmbedImage, inStorage(problem, { x, w, dx, dy }), { w, dy, dx });
    }
    if (ctx.needs(1)) ctx.run(patchEmbedWeight, inStorage(problem, { x, w, dy }), { x, dy, dw: ctx.gradient(1) });
    if (ctx.needs(2)) reduceInto(ctx, 'sum', gradient!, [true, true, false], ctx.gradient(2));
  },
});

/**
 * Tokens of an image: a convolution of stride P with kernel P, image [B, C, H, W], weight [D, C, P, P], bias [D] to
 * [B, (H/P)(W/P), D], patches row by row. timm's `PatchEmbed` with `flatten`. Under autocast image and weight are rounded to
 * f16, as is the tokens' gradient for the products of the backward pass; the tokens, which begin the residual stream, are f32.
 */
export function patchEmbed(image: Tensor, weight: Tensor, bias: Tensor): Tensor {
  for (const tensor of [image, weight, bias]) expectFloat(tensor, 'patchEmbed');
  const [batch, channels, height, wide] = image.shape;
  const [width, weightChannels, patch, patchWide] = weight.shape;
  const fits =
    image.rank === 4 &&
    weight.rank === 4 &&
    channels === weightChannels &&
    patch === patchWide &&
    height % patch === 0 &&
    wide % patch === 0 &&
    image.size > 0;
  if (!fits) {
    throw new DeitError('shape-mismatch', 'The image cannot be cut into the patches of the weight.', {
      where: 'patchEmbed',
      expected: 'image [B, C, H, W] and weight [D, C, P, P], with H and W multiples of P',
      found: `image ${formatShape(image.shape)}, weight ${formatShape(weight.shape)}`,
    });
  }
  expectShape(bias.shape, [width], 'patchEmbed', 'the bias');
  const problem: PatchEmbedProblem = {
    batch,
    channels,
    gridHeight: height / patch,
    gridWidth: wide / patch,
    patch,
    width,
  };
  return patchEmbedOp([image, weight, bias], problem)[0];
}
