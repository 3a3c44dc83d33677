/**
 * Two-dimensional convolution (cross-correlation, as in PyTorch) with stride, zero padding and groups:
 *
 *     y[b, o, p, q] = bias[o] + sum over c, i, j of weight[o, c, i, j] x[b, group(o) C/g + c, p stride - padding + i, q stride - padding + j]
 *
 * x [batch, channels, height, width], weight [filters, channels / groups, kernelHeight, kernelWidth], bias [filters],
 * y [batch, filters, outHeight, outWidth]. Kept for backward: x and weight. Gradients are written:
 *
 *     dx[b, c, h, w] = sum over o, i, j of weight[o, c, i, j] dy[b, o, (h + padding - i) / stride, (w + padding - j) / stride]
 *     dweight[o, c, i, j] = sum over b, p, q of dy[b, o, p, q] x[b, group(o) C/g + c, p stride - padding + i, q stride - padding + j]
 *     dbias[o] = sum over b, p, q of dy[b, o, p, q]
 *
 * where dx takes the outputs for which the divisions are whole and in range. Forward and dx are products of weights and
 * pixels (image.ts, product.ts); dweight is in weight-gradient.ts, dbias in bias-gradient.ts, the choice of a kernel in
 * variants.ts. Cost of each but the last: 2 * batch * filters * outHeight * outWidth * channels / groups * kernelHeight * kernelWidth FLOP.
 * `deit kernel conv2d` shows the kernels.
 */
export { channelSum, channelSumPartialSize } from './bias-gradient.ts';
export { convForward, convForwardWays, convInputGradient, convInputGradientWays } from './image.ts';
export { convOutput } from './problem.ts';
export type { ConvProblem, ConvTensor } from './problem.ts';
export type { ConvWay } from './variants.ts';
export { convPartialSize, convWeightGradient, convWeightGradientWays } from './weight-gradient.ts';
