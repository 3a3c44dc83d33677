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
 * pixels (image-passes.ts), dweight is one of dy and pixels. On GPUs, of many channels, they are computed in tiles of matrix
 * products (implicit-product.ts, weight-product.ts), else in image-product.ts and weight-gradient.ts; dbias is in
 * bias-gradient.ts. Other variants are the tiles of an invocation (tiles.ts), and plain.ts. fold-norm.ts makes a convolution
 * and the batch norm behind it one.
 *
 * Cost: 2 * batch * filters * outHeight * outWidth * channels / groups * kernelHeight * kernelWidth FLOP each, but dbias.
 * `deit kernel conv2d` shows the kernels.
 */
import type { DeviceProfile } from '../lib/device.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { forwardProducts, gradientProducts } from './image-passes.ts';
import { convProduct, usualTiling } from './image-product.ts';
import type { ConvProduct } from './image-product.ts';
import { implicitProducts } from './implicit-product.ts';
import { forwardPlain, inputGradientPlain, weightGradientPlain } from './plain.ts';
import { checkConv, convOutput } from './problem.ts';
import type { ConvForwardProblem, ConvProblem } from './problem.ts';
import { MOST_COLUMNS, MOST_VECTORS, tileVariants } from './tiles.ts';
import { forwardTuning, inputGradientTuning, weightGradientTuning } from './tuning.ts';
import { usualWeightTiling, weightGradient } from './weight-gradient.ts';
import { weightProducts } from './weight-product.ts';

export { channelSum } from './bias-gradient.ts';
export { convOutput } from './problem.ts';
export { foldNorm } from './fold-norm.ts';
export type { ConvForwardProblem, ConvProblem, ConvTensor } from './problem.ts';

/** Bytes of the larger image. */
function largestTensor(p: ConvProblem): number {
  const [height, width] = convOutput(p);
  return 4 * p.batch * Math.max(p.channels * p.height * p.width, p.filters * height * width);
}

/** A pass that writes an image, as its variants see it: the accesses of all its products are the same. */
interface ImagePass<Problem> {
  readonly problem: Problem;
  readonly products: readonly ConvProduct[];
}

const imagePass =
  <Problem extends ConvProblem>(products: (problem: Problem, device: DeviceProfile) => ConvProduct[]) =>
  (problem: Problem, device: DeviceProfile): ImagePass<Problem> => ({
    problem,
    products: products(checkConv(problem), device),
  });

const imageVariants = <Problem extends ConvProblem>(
  plainLaunches: Variant<Problem>['launches'],
): Variant<ImagePass<Problem>>[] => [
  ...implicitProducts,
  ...tileVariants<ImagePass<Problem>>({
    usual: ({ products }, device) => usualTiling(products[0], device),
    rows: ({ products }) => products[0].rows,
    most: MOST_VECTORS,
    launches: ({ products }, tiling, device) => products.flatMap((product) => convProduct(product, tiling, device)),
  }),
  plain(
    ({ problem }) => largestTensor(problem),
    ({ problem }, device) => plainLaunches(problem, device),
  ),
];

/**
 * With the sum with a shortcut (of y's shape) and a ReLU at the end, if asked for. Bindings x, weight, y, and bias and shortcut if
 * it has them.
 */
export const convForward = kernelOf(
  'conv2d.forward',
  imagePass<ConvForwardProblem>(forwardProducts),
  imageVariants(forwardPlain),
  forwardTuning,
);

/** Bindings dy, weight, dx. */
export const convInputGradient = kernelOf(
  'conv2d.input_gradient',
  imagePass<ConvProblem>(gradientProducts),
  imageVariants(inputGradientPlain),
  inputGradientTuning,
);

/** Bindings x, dy, dw. */
export const convWeightGradient = kernelOf<ConvProblem>(
  'conv2d.weight_gradient',
  checkConv,
  [
    ...weightProducts,
    ...tileVariants<ConvProblem>({
      usual: usualWeightTiling,
      rows: (p) => p.filters / p.groups,
      most: MOST_COLUMNS,
      launches: weightGradient,
    }),
    plain(largestTensor, weightGradientPlain),
  ],
  weightGradientTuning,
);
