import { softTargets as softTargetsKernel } from '../../kernels/soft-targets/index.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { expectShape } from '../tensor-shape.ts';

const softTargetsOp = defineOp<{ classes: number; smoothing: number }>({
  name: 'softTargets',
  forward(ctx, [labels, mix]) {
    const { classes, smoothing } = ctx.attributes;
    const batch = labels!.size;
    const targets = ctx.empty([batch, classes]);
    ctx.run(softTargetsKernel, { batch, classes, smoothing }, { labels: labels!, mix: mix!, targets });
    return [targets];
  },
  backward: null,
});

/** Targets [B, classes] of a mixed batch from labels i32 [B] and `mix` as in `mixOnGpu`. timm's `mixup_target`. */
export function mixedTargets(labels: Tensor, mix: Tensor, options: { classes: number; smoothing: number }): Tensor {
  expectShape(mix.shape, [6], 'mixedTargets', 'mix');
  return softTargetsOp([labels, mix], options)[0];
}
