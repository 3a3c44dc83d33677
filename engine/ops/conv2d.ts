import { DeitError } from '../../kernels/lib/errors.ts';
import {
  channelSum,
  convForward,
  convInputGradient,
  convOutput,
  convWeightGradient,
} from '../../kernels/conv2d/index.ts';
import type { ConvProblem, ConvTensor } from '../../kernels/conv2d/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { expectShape, formatShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

export interface ConvOptions {
  /** Pixels from one output to the next, both ways; 1 if left out. */
  stride?: number;
  /** Rows and columns of zeros around the image; 0 if left out. */
  padding?: number;
  /** Groups of channels that do not see each other; 1 if left out. */
  groups?: number;
}

/** The problem of a pass, with its tensors (or their gradients) that are f16. */
function inStorage(problem: ConvProblem, tensors: Readonly<Record<ConvTensor, Tensor>>): ConvProblem {
  const f16 = (['x', 'weight', 'y'] as const).filter((name) => tensors[name].dtype === 'f16');
  return f16.length > 0 ? { ...problem, f16 } : problem;
}

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
  for (const tensor of [x, weight, bias]) if (tensor) expectFloat(tensor, 'conv2d');
  const { stride = 1, padding = 0, groups = 1 } = options;
  const mismatch = (problem: string, expected: string): DeitError =>
    new DeitError('shape-mismatch', problem, {
      where: `conv2d(stride ${stride}, padding ${padding}, groups ${groups})`,
      expected,
      found: `x ${formatShape(x.shape)}, weight ${formatShape(weight.shape)}`,
    });
  if (x.rank !== 4 || weight.rank !== 4 || x.size === 0 || weight.size === 0) {
    throw mismatch('The operands of a convolution have four dimensions, none of them empty.', 'x [B, C, H, W]');
  }
  const whole = [stride, groups].every((n) => Number.isInteger(n) && n >= 1);
  if (!whole || !Number.isInteger(padding) || padding < 0) {
    throw new DeitError('bad-argument', 'Stride and groups are whole numbers from 1, the padding from 0.', {
      where: 'conv2d',
      found: `stride ${stride}, padding ${padding}, groups ${groups}`,
    });
  }
  const [batch, channels, height, width] = x.shape;
  const [filters, depth, kernelHeight, kernelWidth] = weight.shape;
  if (channels !== depth * groups || filters % groups !== 0) {
    throw mismatch(
      'The channels do not fit the weight.',
      `x with ${depth * groups} channels, and filters divisible by ${groups}`,
    );
  }
  const sizes = { batch, channels, height, width, filters, kernelHeight, kernelWidth };
  const problem: ConvProblem = { ...sizes, stride, padding, groups };
  if (convOutput(problem).some((size) => size < 1)) {
    throw mismatch(
      'The kernel is larger than the padded image.',
      `an image of at least ${kernelHeight} x ${kernelWidth}`,
    );
  }
  if (bias) expectShape(bias.shape, [filters], 'conv2d', 'the bias');
  return convOp([x, weight, bias], problem)[0];
}
