import {
  DeitError,
  add,
  crossEntropy,
  distilledCrossEntropy,
  klDistillation,
  mul,
  softTargetCrossEntropy,
} from '../engine/index.ts';
import type { Tensor } from '../engine/index.ts';
import type { Logits } from './models/classifier.ts';

/** How a teacher's logits enter the loss (DeiT paper §4, facebookresearch/deit losses.py). */
export interface Distillation {
  readonly type: 'none' | 'soft' | 'hard';
  /** Weight of the distillation term; the label term has 1 - alpha. */
  readonly alpha: number;
  /** Temperature of soft distillation. */
  readonly tau: number;
  /** The KL sum is divided by batch x classes (`all`, the released code) or by the batch (`batchmean`). */
  readonly scaling: 'all' | 'batchmean';
}

/** The label term's target: class numbers, or a distribution over classes (after mixup or cutmix). */
export type Target = { readonly labels: Tensor; readonly smoothing: number } | { readonly distribution: Tensor };

export interface Losses {
  /** What is differentiated; the terms are there to be read, and not all of them have a gradient. Scalar. */
  readonly total: Tensor;
  /** The label term, before weighting. Scalar. */
  readonly label: Tensor;
  /** The distillation term, before weighting; null without one. Scalar. */
  readonly distillation: Tensor | null;
}

/**
 * The loss of a student with two heads: the class head learns from the labels, the distillation head from the teacher.
 * A student without distillation token uses its only logits for both terms. `teacher` is [B, K] and takes no gradient.
 */
export function distillationLoss(
  { type, alpha, tau, scaling }: Distillation,
  student: Logits,
  target: Target,
  teacher: Tensor | null,
): Losses {
  const imitating = student.dist ?? student.cls;
  if (type !== 'none' && !(alpha >= 0 && alpha <= 1)) {
    throw new DeitError('bad-argument', 'The weight of the distillation term is a share.', {
      where: 'distillation.alpha',
      expected: 'a number from 0 to 1',
      found: String(alpha),
    });
  }
  if (type === 'hard' && teacher) {
    const [constant, labelSmoothing] =
      'labels' in target ? [target.labels, target.smoothing] : [target.distribution, 0];
    return distilledCrossEntropy(student.cls, imitating, constant, teacher.detach(), { alpha, labelSmoothing });
  }
  const label =
    'labels' in target
      ? crossEntropy(student.cls, target.labels, { labelSmoothing: target.smoothing })
      : softTargetCrossEntropy(student.cls, target.distribution);
  if (type === 'none' || !teacher) return { total: label, label, distillation: null };
  const distillation = klDistillation(imitating, teacher.detach(), { tau, scaling });
  return { total: add(mul(label, 1 - alpha), mul(distillation, alpha)), label, distillation };
}
