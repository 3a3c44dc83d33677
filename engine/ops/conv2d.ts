import {
  channelSum,
  convForward,
  convInputGradient,
  convOutput,
  convWeightGradient,
} from '../../kernels/conv2d/index.ts';
import type { ConvProblem } from '../../kernels/conv2d/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { expectShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { convProblem, inStorage } from './conv-problem.ts';
import type { ConvOptions } from './conv-problem.ts';

export type { ConvOptions } from './conv-problem.ts';

const convOp = defineOp<ConvProblem>({
  name: 'conv2d',
  precision: { operands: ['f16', 'weight'], result: 'operand' },
  forward(ctx, inputs) {
    const problem = ctx.attributes;
    const [x, weight] = [inputs[0]!, inputs[1]!];
    const y = ctx.result([problem.batch, problem.filters, ...convOutput(problem)]);
    const own = { ...inStorage(problem, { x, weight, y }), bias: inputs[2] !== null };
    const bias = inputs[2] && { bias: inputs[2] };
    ctx.run(convForward, own, { x, weight, y, ...bias });
    ctx.save(x, weight);
    return [y];
  },
  backward(ctx, [dy]) {
    const problem = ctx.attributes;
    const [x, weight] = ctx.saved;
    if (ctx.needs(0)) {
      const dx = ctx.gradient(0);
      const own = inStorage(problem, { x: dx, weight, y: dy! });
      ctx.run(convInputGradient, own, { dy: dy!, weight, dx });
    }
    if (ctx.needs(1)) {
      const dw = ctx.gradient(1);
      ctx.run(convWeightGradient, inStorage(problem, { x, weight: dw, y: dy! }), { x, dy: dy!, dw });
    }
    if (ctx.needs(2)) {
      const { batch, filters: channels } = problem;
      const [height, width] = convOutput(problem);
      const shape = { batch, channels, plane: height * width, ...(dy!.dtype === 'f16' && { f16: ['dy'] }) };
      ctx.run(channelSum, shape, { dy: dy!, dbias: ctx.gradient(2) });
    }
  },
});

/**
 * Two-dimensional convolution with zero padding: x [B, C, H, W], weight [O, C / groups, kh, kw], bias [O] or null, to
 * [B, O, (H + 2 padding - kh) / stride + 1, (W + 2 padding - kw) / stride + 1], rounded down. As
 * torch.nn.functional.conv2d (a cross-correlation: the kernel is not flipped). Under autocast x and weight are rounded to f16,
 * and so is the result.
 */
export function conv2d(x: Tensor, weight: Tensor, bias: Tensor | null, options: ConvOptions = {}): Tensor {
  if (bias) expectFloat(bias, 'conv2d');
  const problem = convProblem(x, weight, options, 'conv2d');
  if (bias) expectShape(bias.shape, [problem.filters], 'conv2d', 'the bias');
  return convOp([x, weight, bias], problem)[0];
}
