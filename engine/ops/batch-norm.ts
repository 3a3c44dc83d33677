import { DeitError } from '../../kernels/lib/errors.ts';
import {
  batchNormBackward,
  batchNormForward,
  batchNormTraining,
  reciprocalDeviation,
} from '../../kernels/batch-norm/index.ts';
import type { ChannelShape } from '../../kernels/lib/channels.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { expectShape, formatShape, numel } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

export interface BatchNormOptions {
  /** Normalise by the batch's statistics and move the running ones; otherwise normalise by the running ones. */
  training: boolean;
  /** Share of the batch in the running statistics; 0.1 if left out. */
  momentum?: number;
  /** Added to the variance; 1e-5 if left out. */
  eps?: number;
  /** Ends with a ReLU, in the same kernel. */
  relu?: boolean;
}

interface Attributes extends Required<BatchNormOptions> {
  readonly batch: number;
  readonly channels: number;
  readonly plane: number;
}

/** Images that are f16, and with them their gradients, are read and written as they are; `y` is the result or its gradient. */
const shapeOf = ({ batch, channels, plane }: Attributes, x: Tensor, y: Tensor): ChannelShape => ({
  batch,
  channels,
  plane,
  f16: [...(x.dtype === 'f16' ? ['x', 'dx'] : []), ...(y.dtype === 'f16' ? ['y', 'dy'] : [])],
});

const batchNormOp = defineOp<Attributes>({
  name: 'batchNorm',
  precision: { operands: ['any'], result: 'consumer' },
  forward(ctx, inputs) {
    const [x, weight, bias, runningMean, runningVar] = inputs as Tensor[];
    const { training, momentum, eps, relu, channels } = ctx.attributes;
    const y = ctx.result(x.shape);
    const shape = shapeOf(ctx.attributes, x, y);
    const mean = training ? ctx.empty([channels]) : runningMean;
    const rstd = ctx.empty([channels]);
    const tensors = { x, mean, rstd, weight, bias, y };
    if (training) {
      const running = { running_mean: runningMean, running_var: runningVar };
      ctx.run(batchNormTraining, { ...shape, relu, momentum, eps }, { ...tensors, ...running });
    } else {
      ctx.run(reciprocalDeviation, { channels, eps }, { variance: runningVar, rstd });
      ctx.run(batchNormForward, { ...shape, relu }, tensors);
    }
    ctx.save(x, mean, rstd, weight, bias);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, mean, rstd, weight, bias] = ctx.saved;
    const { training, relu, channels } = ctx.attributes;
    const shape = shapeOf(ctx.attributes, x, dy!);
    const inputGradient = ctx.needs(0);
    ctx.run(
      batchNormBackward,
      { ...shape, relu, training, inputGradient },
      {
        ...{ x, dy: dy!, mean, rstd, weight, bias },
        dweight: ctx.needs(1) ? ctx.gradient(1) : ctx.empty([channels]),
        dbias: ctx.needs(2) ? ctx.gradient(2) : ctx.empty([channels]),
        ...(inputGradient && { dx: ctx.gradient(0) }),
      },
    );
  },
});

/**
 * Batch normalisation of x [B, C, H, W] or [B, C] by channel, with weight, bias and running statistics [C]. As
 * torch.nn.functional.batch_norm; in training the running statistics are updated in place (the variance in its unbiased
 * form), as part of the recorded work, and more than one value per channel is needed. Under autocast f16 images are read as they
 * are, and the result is f16 if a product takes it first; statistics and all arithmetic are f32.
 */
export function batchNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  runningMean: Tensor,
  runningVar: Tensor,
  options: BatchNormOptions,
): Tensor {
  const { training, momentum = 0.1, eps = 1e-5, relu = false } = options;
  for (const tensor of [x, weight, bias, runningMean, runningVar]) expectFloat(tensor, 'batchNorm');
  if (x.rank < 2 || x.size === 0) {
    throw new DeitError('shape-mismatch', 'batchNorm() takes images or features by channel, none of them empty.', {
      where: 'batchNorm',
      expected: 'x [B, C, H, W] or [B, C]',
      found: formatShape(x.shape),
    });
  }
  const [batch, channels, ...pixels] = x.shape;
  const plane = numel(pixels);
  const vectors = { 'the weight': weight, 'the bias': bias, 'the mean': runningMean, 'the variance': runningVar };
  for (const [what, tensor] of Object.entries(vectors)) expectShape(tensor.shape, [channels], 'batchNorm', what);
  if (training && batch * plane === 1) {
    throw new DeitError('bad-argument', 'The statistics of a batch need more than one value a channel.', {
      where: 'batchNorm in training',
      found: formatShape(x.shape),
      fix: 'use a batch of at least two images, or evaluation mode',
    });
  }
  if (runningMean.requiresGrad || runningVar.requiresGrad) {
    throw new DeitError('bad-argument', 'The running statistics of batchNorm() have no gradient.', {
      where: 'batchNorm',
      fix: 'do not mark them with requiresGrad_()',
    });
  }
  const attributes = { training, momentum, eps, relu, batch, channels, plane };
  return batchNormOp([x, weight, bias, runningMean, runningVar], attributes)[0];
}
