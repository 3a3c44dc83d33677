/**
 * targets[b, c] = lambda s(label[b])[c] + (1 - lambda) s(label[B-1-b])[c], with s the smoothed one-hot vector: smoothing / K
 * everywhere, 1 - smoothing more at the class (timm 0.3.2 mixup_target). labels i32 [batch], mix f32 [6] as in mix
 * (without mixing lambda is 1), targets [batch, classes]. No gradient.
 *
 * Cost: 3 FLOP per target. `deit kernel soft_targets` shows the kernel.
 */
import { f32, input, output, require, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';

export interface SoftTargetsProblem {
  readonly batch: number;
  readonly classes: number;
  readonly smoothing: number;
}

/** Bindings labels, mix, targets. One invocation per target. */
export const softTargets: Kernel<SoftTargetsProblem> = ({ batch, classes, smoothing }, device) => {
  require(batch > 0 && classes > 0, 'soft_targets', 'positive sizes', [batch, classes]);
  require(smoothing >= 0 && smoothing <= 1, 'soft_targets', 'smoothing from 0 to 1', smoothing);
  const kernel = perInvocation(
    {
      name: 'soft_targets',
      bindings: [input('labels', 'i32'), input('mix'), output('targets')],
      uniforms: { batch: u32(batch), classes: u32(classes), smoothing: f32(smoothing) },
      count: batch * classes,
      body: /* wgsl */ `
  let row = i / params.classes;
  let class_index = i32(i % params.classes);
  let off = params.smoothing / f32(params.classes);
  let on = 1.0 - params.smoothing + off;
  let own = select(off, on, labels[row] == class_index);
  let partner = select(off, on, labels[params.batch - 1u - row] == class_index);
  targets[i] = mix[1] * own + (1.0 - mix[1]) * partner;`,
      cost: { flops: 3 * batch * classes, bytes: 4 * batch * classes },
    },
    device,
  );
  return [kernel];
};
