import { DeitError } from '../../kernels/lib/errors.ts';
import type { ChannelShape } from '../../kernels/lib/channels.ts';
import { globalAvgPoolForward, globalAvgPoolGradient } from '../../kernels/global-avg-pool/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { formatShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

const globalAvgPoolOp = defineOp<ChannelShape>({
  name: 'globalAvgPool',
  forward(ctx, [x]) {
    const y = ctx.empty([ctx.attributes.batch, ctx.attributes.channels]);
    ctx.run(globalAvgPoolForward, ctx.attributes, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    // In squeeze-and-excitation the gated branch has left its gradient here already.
    const pending = ctx.takePending(0);
    const tensors = { dy: dy!, dx: ctx.gradient(0), ...(pending && { pending }) };
    ctx.run(globalAvgPoolGradient, { ...ctx.attributes, pending: pending !== null }, tensors);
  },
});

/** The mean over the pixels of each image and channel: x [B, C, H, W] to [B, C]. As x.mean((2, 3)) in PyTorch. */
export function globalAvgPool(x: Tensor): Tensor {
  return globalAvgPoolOp([x], imageShape(x, 'globalAvgPool'))[0];
}

/** Sizes of images [B, C, H, W]; throws unless x is that. */
export function imageShape(x: Tensor, where: string): ChannelShape {
  expectFloat(x, where);
  if (x.rank !== 4 || x.size === 0) {
    throw new DeitError('shape-mismatch', 'The operator takes images, none of them empty.', {
      where,
      expected: '[B, C, H, W]',
      found: formatShape(x.shape),
    });
  }
  return { batch: x.shape[0], channels: x.shape[1], plane: x.shape[2] * x.shape[3] };
}
