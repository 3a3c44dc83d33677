import { DeitError } from '../../kernels/lib/errors.ts';
import type { ChannelShape } from '../../kernels/lib/channels.ts';
import { scaleChannelsForward, scaleChannelsGradient } from '../../kernels/scale-channels/index.ts';
import { expectFloat, expectF16 } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { expectShape, formatShape } from '../tensor-shape.ts';
import { imageShape } from './global-avg-pool.ts';

const scaleChannelsOp = defineOp<ChannelShape>({
  name: 'scaleChannels',
  forward(ctx, [x, gate]) {
    const y = ctx.empty(x!.shape, ctx.attributes.f16 ? 'f16' : 'f32');
    ctx.run(scaleChannelsForward, ctx.attributes, { x: x!, gate: gate!, y });
    ctx.save(x!, gate!);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, gate] = ctx.saved;
    const dx = ctx.needs(0) ? ctx.gradient(0) : ctx.empty(x.shape);
    const dgate = ctx.needs(1) ? ctx.gradient(1) : ctx.empty(gate.shape);
    ctx.run(scaleChannelsGradient, ctx.attributes, { x, gate, dy: dy!, dx, dgate });
  },
});

/**
 * Multiplies every channel of every image by a number: x [B, C, H, W] times gate [B, C] (or [B, C, 1, 1]), the last step
 * of squeeze-and-excitation. As x * gate[:, :, None, None] in PyTorch. The result is f32, or f16 for products of f16.
 */
export function scaleChannels(x: Tensor, gate: Tensor, dtype: 'f32' | 'f16' = 'f32'): Tensor {
  if (dtype === 'f16') expectF16(x.engine, 'scaleChannels');
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
  return scaleChannelsOp([x, gate], { ...shape, ...(dtype === 'f16' && { f16: ['y', 'dy'] }) })[0];
}
