/**
 * Layer normalisation (Ba, Kiros and Hinton, 2016) of the rows of x [rows, width]:
 *
 *     mean = sum(x) / width,  rstd = 1 / sqrt(sum((x - mean)^2) / width + eps)     (two passes)
 *     h = (x - mean) rstd,    y = h weight + bias
 *
 * Kept for backward: x and stats [rows, 2] of mean and rstd. Backward, with g = dy weight:
 *
 *     dx = rstd (g - sum(g) / width - h sum(g h) / width)  (+ pending)
 *     dweight = sum over rows of dy h,  dbias = sum over rows of dy
 *
 * All gradients are written. `pending` is a gradient that reached x along another path (the residual connection); adding
 * it here saves a pass. For products of f16, y and dy can be f16 in memory. The products that made x take dx in f16 or with its
 * rows scaled (stochastic depth): that is a second result, copy = row_scale dx.
 * Cost: 8 FLOP per element forward, 15 backward; memory traffic decides.
 * `deit kernel layer_norm` shows the kernels.
 */
import { kernelOf } from '../lib/variant.ts';
import { rowVariants } from '../lib/row-plan.ts';
import { plain } from '../lib/plain.ts';
import { backwardPlain, forwardPlain } from './plain.ts';
import { checked, largestTensor } from './problem.ts';
import type { LayerNormBackwardProblem, LayerNormProblem } from './problem.ts';
import { backwardOverRows, forwardOverRows, shapeOf } from './rows.ts';

export type { LayerNormBackwardProblem, LayerNormProblem } from './problem.ts';

/** Bindings: x; weight and bias if the problem has them; y; stats (vec2f). */
export const layerNormForward = kernelOf<LayerNormProblem>('layer_norm.forward', checked, [
  ...rowVariants(shapeOf, 'cpu', forwardOverRows),
  plain(largestTensor, forwardPlain),
]);

/** Bindings: x, stats (vec2f), dy; dx, weight, pending, copy and row_scale if the problem has them; dweight and dbias if `affine`. */
export const layerNormBackward = kernelOf<LayerNormBackwardProblem>('layer_norm.backward', checked, [
  ...rowVariants(shapeOf, 'cpu', backwardOverRows),
  plain(largestTensor, backwardPlain),
]);
