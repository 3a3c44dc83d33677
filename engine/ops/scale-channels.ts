import { DeitError } from '../../kernels/lib/errors.ts';
import type { ChannelShape } from '../../kernels/lib/channels.ts';
import { scaleChannelsForward, scaleChannelsGradient } from '../../kernels/scale-channels/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { expectShape, formatShape } from '../tensor-shape.ts';
import { imageShape } from './global-avg-pool.ts';

/** The problem of a pass with this result, or gradient of the result. */
const inStorage = (shape: ChannelShape, y: Tensor): ChannelShape =>
  y.dtype === 'f16' ? { ...shape, f16: ['y', 'dy'] } : shape;

const scaleChannelsOp = defineOp<ChannelShape>({
  name: 'scaleChannels',
  precision: { operands: 'f32', result: 'consumer' },
  forward(ctx, [x, gate]) {
    const y = ctx.result(x!.shape);
    ctx.run(scaleChannelsForward, inStorage(ctx.attributes, y), { x: x!, gate: gate!, y });
    ctx.save(x!, gate!);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, gate] = ctx.saved;
    const dx = ctx.needs(0) ? ctx.gradient(0) : ctx.empty(x.shape);
    const dgate = ctx.needs(1) ? ctx.gradient(1) : ctx.empty(gate.shape);
    ctx.run(scaleChannelsGradient, inStorage(ctx.attributes, dy!), { x, gate, dy: dy!, dx, dgate });
  },
});

/**
 * Multiplies every channel of every image by a number: x [B, C, H, W] times gate [B, C] (or [B, C, 1, 1]), the last step
 * of squeeze-and-excitation. As x * gate[:, :, None, None] in PyTorch. Under autocast the result is f16
 * if a product takes it first.
 */
export function scaleChannels(x: Tensor, gate: Tensor): Tensor {
  const shape = imageShape(x, 'scaleChannels');
  expectFloat(gate, 'scaleChannels');
  expectShape(gate.shape.slice(0, 2), [shape.batch, shape.channels], 'scaleChannels', 'the gate');
  if (gate.size !== shape.batch * shape.channels) {
    throw new DeitError('shape-mismatch', 'A gate has one number for each image and channel.', {
      where: 'scaleChannels',
      expected: `[${shape.batch}, ${shape.channels}]`,
      found: formatShape(gate.shape),
    });
  }
  return scaleChannelsOp([x, gate], shape)[0];
}
