import { convForward, convInputGradient, convOutput, convWeightGradient } from '../../kernels/conv2d/index.ts';
import type { ConvProblem } from '../../kernels/conv2d/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { expectShape, formatShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { add } from './binary.ts';
import type { ConvOptions } from './conv2d.ts';
import { reshape } from './shape.ts';

/** The passes of the convolution that this is the transpose of, in which x and y change places. */
const convTransposeOp = defineOp<ConvProblem>({
  name: 'convTranspose2d',
  forward(ctx, inputs) {
    const [x, weight] = [inputs[0]!, inputs[1]!];
    const { batch, channels, height, width } = ctx.attributes;
    const y = ctx.empty([batch, channels, height, width]);
    ctx.run(convInputGradient, ctx.attributes, { dy: x, weight, dx: y });
    ctx.save(x, weight);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, weight] = ctx.saved;
    const problem = ctx.attributes;
    if (ctx.needs(0)) {
      ctx.run(convForward, { ...problem, bias: false }, { x: dy!, weight, y: ctx.gradient(0) });
    }
    if (ctx.needs(1)) ctx.run(convWeightGradient, problem, { x: dy!, dy: x, dw: ctx.gradient(1) });
  },
});

/**
 * Transposed convolution: what `conv2d` of the same options does to gradients. x [B, C, H, W], weight [C, O / groups, kh, kw], bias [O]
 * or null, to [B, O, (H - 1) stride - 2 padding + kh + outputPadding, ...]. PyTorch's `F.conv_transpose2d`, without dilation.
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  options: ConvOptions & { outputPadding?: number } = {},
): Tensor {
  for (const tensor of [x, weight, bias]) if (tensor) expectFloat(tensor, 'convTranspose2d');
  const { stride = 1, padding = 0, groups = 1, outputPadding = 0 } = options;
  const numbers = `stride ${stride}, padding ${padding}, groups ${groups}, outputPadding ${outputPadding}`;
  const isWhole = (least: number) => (n: number) => Number.isInteger(n) && n >= least;
  if (![stride, groups].every(isWhole(1)) || ![padding, outputPadding].every(isWhole(0)) || outputPadding >= stride) {
    throw new DeitError('bad-argument', 'These are no options of a transposed convolution.', {
      where: 'convTranspose2d',
      expected: 'stride and groups from 1, padding from 0, outputPadding below the stride',
      found: numbers,
    });
  }
  const [batch, filters, ...image] = x.shape;
  const [depth, perGroup, kernelHeight, kernelWidth] = weight.shape;
  const sizes = image.map((size, i) => (size - 1) * stride - 2 * padding + weight.shape[2 + i] + outputPadding);
  const fits =
    x.rank === 4 && weight.rank === 4 && x.size > 0 && weight.size > 0 && depth === filters && filters % groups === 0;
  if (!fits || sizes.some((size) => size < 1)) {
    throw new DeitError('shape-mismatch', 'The operands of a transposed convolution do not fit.', {
      where: `convTranspose2d(${numbers})`,
      expected:
        'x [B, C, H, W] and weight [C, O / groups, kh, kw], C divisible by the groups, and a result of at least one pixel',
      found: `x ${formatShape(x.shape)}, weight ${formatShape(weight.shape)}`,
    });
  }
  const channels = perGroup * groups;
  const [height, width] = sizes;
  const problem = { batch, channels, height, width, filters, kernelHeight, kernelWidth, stride, padding, groups };
  expectShape(convOutput(problem), image, 'convTranspose2d', 'the image');
  if (bias) expectShape(bias.shape, [channels], 'convTranspose2d', 'the bias');
  const [y] = convTransposeOp([x, weight], problem);
  return bias ? add(y, reshape(bias, [channels, 1, 1])) : y;
}
