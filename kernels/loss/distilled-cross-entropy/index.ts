/**
 * Hard distillation of a student with two heads (DeiT, section 4; facebookresearch/deit, losses.py): the class head learns
 * from the target, the distillation head from the decision of a teacher. All logits are [rows, width]:
 *
 *     label = mean over rows of CE(cls, target)
 *     distillation = mean over rows of CE(dist, argmax(teacher))
 *     total = (1 - alpha) label + alpha distillation
 *     dcls = dtotal (1 - alpha) / rows * CE'(cls, target)
 *     ddist = dtotal alpha / rows * CE'(dist, argmax(teacher))
 *
 * The target is labels [rows], with smoothing, or a distribution [rows, width]: CE and CE' are those of cross-entropy
 * and soft-target-cross-entropy, whose code this is. The teacher's label is not smoothed. Both heads of a row are
 * worked on by those who have the row, one after the other: three dispatches for forward and backward, where the terms
 * by themselves take eleven.
 *
 * Kept for backward: both logits, the distribution, and stats [rows, 2, 4], what cross-entropy keeps of either head. Target
 * and teacher get no gradient. Gradients are written.
 *
 * Cost: 18 FLOP per element of a head forward, 12 backward; memory traffic decides. `deit kernel distilled_cross_entropy` shows the kernels.
 */
import { f32, input, launch, output, u32 } from '../../lib/kernel.ts';
import type { Kernel } from '../../lib/kernel.ts';
import { plain } from '../../lib/plain.ts';
import { rowVariants } from '../../lib/row-plan.ts';
import { kernelOf } from '../../lib/variant.ts';
import { bytesOf, shapeOf } from '../logits.ts';
import { sumOfAllWgsl } from '../scaled-sum.ts';
import { backwardPlain, forwardPlain } from './plain.ts';
import { checked } from './problem.ts';
import type { DistilledBackwardProblem, DistilledCrossEntropyProblem } from './problem.ts';
import { backwardOverRows, forwardOverRows } from './rows.ts';

export type { DistilledCrossEntropyProblem } from './problem.ts';

/** Bindings: cls, dist; labels (i32) or targets; teacher; row_loss [rows] (vec2f: label, distillation); stats (vec4f). */
export const distilledCrossEntropyForward = kernelOf<DistilledCrossEntropyProblem>(
  'distilled_cross_entropy.forward',
  checked,
  [...rowVariants<DistilledCrossEntropyProblem>(shapeOf, false, forwardOverRows), plain(bytesOf, forwardPlain)],
);

/**
 * The means over rows, and their weighted sum. Bindings: row_loss (vec2f); total, label, distillation (one element each).
 */
export const distilledTotal: Kernel<{ rows: number; alpha: number }> = ({ rows, alpha }) => [
  launch({
    name: 'distilled_cross_entropy.total',
    bindings: [input('row_loss', 'vec2f'), output('total'), output('label'), output('distillation')],
    uniforms: { n: u32(rows), factor: f32(1 / rows), label_weight: f32(1 - alpha), alpha: f32(alpha) },
    wgsl: /* wgsl */ `
${sumOfAllWgsl('row_loss', 'vec2f')}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let means = sum_of_row_loss(lane) * params.factor;
  if (lane == 0u) {
    label[0] = means.x;
    distillation[0] = means.y;
    total[0] = params.label_weight * means.x + params.alpha * means.y;
  }
}`,
    grid: [1, 1, 1],
    cost: { flops: 2 * rows, bytes: 8 * rows },
  }),
];

/** Bindings: cls, dist; targets, where the target is a distribution; stats (vec4f), dtotal (one element), dcls, ddist. */
export const distilledCrossEntropyBackward = kernelOf<DistilledBackwardProblem>(
  'distilled_cross_entropy.backward',
  checked,
  [...rowVariants<DistilledBackwardProblem>(shapeOf, false, backwardOverRows), plain(bytesOf, backwardPlain)],
);
