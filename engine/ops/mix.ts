import { DeitError } from '../../kernels/lib/errors.ts';
import { mix as mixKernel } from '../../kernels/mix/index.ts';
import { defineOp } from '../op.ts';
import { expectShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

const mixOp = defineOp<object>({
  name: 'mixImages',
  forward(ctx, [x, mix]) {
    const [batch, channels, height, width] = x!.shape;
    const y = ctx.empty(x!.shape);
    ctx.run(mixKernel, { batch, channels, height, width }, { x: x!, mix: mix!, y });
    return [y];
  },
  backward: null,
});

/**
 * Mixup or cutmix of images [B, C, H, W] with the same batch in reverse. `mix` is f32 [6]: kind (0 none, 1 mixup,
 * 2 cutmix), lambda, and the box top, left, bottom, right. Not differentiable. timm's `Mixup`, mode `batch`.
 */
export function mixOnGpu(images: Tensor, mix: Tensor): Tensor {
  if (images.rank !== 4) {
    throw new DeitError('shape-mismatch', 'Images are [batch, channels, height, width].', {
      where: 'mixOnGpu',
      found: images.toString(),
    });
  }
  expectShape(mix.shape, [6], 'mixOnGpu', 'mix');
  return mixOp([images, mix], {})[0];
}
