/**
 * Patch embedding, a convolution whose stride is its kernel, from image to tokens in one dispatch (timm PatchEmbed):
 *
 *     y[b, n, d] = bias[d] + sum over c, dy, dx of x[b, c, P gy + dy, P gx + dx] w[d, c, dy, dx],   n = gy G + gx
 *
 * x [B, C, H, W] with H = Gy P and W = Gx P, w [D, C, P, P], bias [D], y [B, Gy Gx, D]. No patch matrix is built. Kept
 * for the backward pass: x and w. Gradients are written:
 *
 *     dw[d, c, dy, dx] = sum over b, n of dy[b, n, d] x[b, c, P gy + dy, P gx + dx]
 *     dx[b, c, P gy + dy, P gx + dx] = sum over d of dy[b, n, d] w[d, c, dy, dx]
 *
 * Where P and D are multiples of 4, GPUs compute them in tiles of matrix products (product.ts), and processors with subgroups
 * in subgroup.ts; general.ts has what is left.
 *
 * Cost: 2 B Gy Gx C P^2 D FLOP, forward and for each gradient. `deit kernel patch_embed` shows the kernels.
 */
import { inF16 } from '../lib/f16-storage.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { forwardGeneral, imageGradientGeneral, weightGradientGeneral } from './general.ts';
import { forwardPlain, imageGradientPlain, weightGradientPlain } from './plain.ts';
import { checkPatchEmbed, largestTensor } from './problem.ts';
import type { PatchEmbedProblem } from './problem.ts';
import { forwardProducts, imageProducts, weightProducts } from './product.ts';
import { fitsSubgroup, forwardSubgroup, weightGradientSubgroup } from './subgroup.ts';

export type { PatchEmbedProblem } from './problem.ts';

const kernel = (pass: string, ...variants: readonly Variant<PatchEmbedProblem>[]) =>
  kernelOf<PatchEmbedProblem>(
    `patch_embed.${pass}`,
    checkPatchEmbed,
    variants.map((variant) => ({
      ...variant,
      launches: (problem, device) => inF16(variant.launches(problem, device), problem.f16),
    })),
  );

const subgroup = (launches: Variant<PatchEmbedProblem>['launches']): Variant<PatchEmbedProblem> => ({
  name: 'subgroup',
  fits: fitsSubgroup,
  launches,
});
const general = (launches: Variant<PatchEmbedProblem>['launches']): Variant<PatchEmbedProblem> => ({
  name: 'general',
  fits: () => true,
  launches,
});

/** Bindings x, w, bias, y. */
export const patchEmbedForward = kernel(
  'forward',
  ...forwardProducts,
  subgroup(forwardSubgroup),
  general(forwardGeneral),
  plain(largestTensor, forwardPlain),
);

/** Bindings x, dy, dw. */
export const patchEmbedWeight = kernel(
  'weight',
  ...weightProducts,
  subgroup(weightGradientSubgroup),
  general(weightGradientGeneral),
  plain(largestTensor, weightGradientPlain),
);

/** The gradient of the image. Bindings w, dy, dx. */
export const patchEmbedImage = kernel(
  'image',
  ...imageProducts,
  general(imageGradientGeneral),
  plain(largestTensor, imageGradientPlain),
);
