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
 * Where P is a multiple of 4, pixels and weights are read four at a time.
 *
 * Cost: 2 B Gy Gx C P^2 D FLOP, forward and for each gradient. `deit kernel patch_embed` shows the kernels.
 */
import { inHalf } from '../lib/f16-storage.ts';
import type { Kernel } from '../lib/kernel.ts';
import { forwardGeneral, imageGradientGeneral, weightGradientGeneral } from './general.ts';
import type { PatchEmbedProblem } from './problem.ts';
import { fitsSubgroup, forwardSubgroup, weightGradientSubgroup } from './subgroup.ts';

export { weightGradientParts as patchEmbedWeightParts } from './general.ts';
export type { PatchEmbedProblem } from './problem.ts';

/** Bindings x, w, bias, y. */
export const patchEmbedForward: Kernel<PatchEmbedProblem> = (problem, device) =>
  inHalf((fitsSubgroup(problem, device) ? forwardSubgroup : forwardGeneral)(problem, device), problem.half);

/** Bindings x, dy, partials [parts, d, c, dy, dx], whose sum over the `patchEmbedWeightParts` parts is dw. */
export const patchEmbedWeight: Kernel<PatchEmbedProblem> = (problem, device) =>
  inHalf(
    (fitsSubgroup(problem, device) ? weightGradientSubgroup : weightGradientGeneral)(problem, device),
    problem.half,
  );

/** The gradient of the image. Bindings w, dy, dx. */
export const patchEmbedImage: Kernel<PatchEmbedProblem> = (problem, device) =>
  inHalf(imageGradientGeneral(problem, device), problem.half);
