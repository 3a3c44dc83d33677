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
 * The last two have a kernel of their own (columns.ts). Where lanes keep their part of a row, and workgroups take
 * row after row, backward sums them on the way, for each workgroup's rows; a second dispatch adds these up, if there
 * are several.
 *
 * All gradients are written. `pending` is a gradient that reached x along another path (the residual connection); adding
 * it here saves a pass. For products of f16, y and dy can be f16 in memory, and dx is written in f16 as well (`rounded`).
 */
export { layerNormColumns, layerNormPartials } from './columns.ts';
export type { LayerNormColumnsProblem } from './columns.ts';
export type { LayerNormBackwardProblem, LayerNormProblem } from './problem.ts';
export { layerNormBackward, layerNormBackwardPartials, layerNormForward, layerNormSumsColumns } from './rows.ts';
