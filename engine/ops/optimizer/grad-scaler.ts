import { adamWSkipped, scalerStep } from '../../../kernels/optimizer/grad-scaler/index.ts';
import type { Tensor } from '../../tensor.ts';

/** What dynamic loss scaling consists of: f32 tensors of one element, kept from step to step. */
export interface LossScale {
  /** What the loss is multiplied by. */
  readonly scale: Tensor;
  /** Good steps since the scale last changed. */
  readonly tracker: Tensor;
  /** Steps that were not applied, in all. */
  readonly skipped: Tensor;
}

export interface LossScaleRule {
  readonly growth: number;
  readonly backoff: number;
  readonly interval: number;
}

/**
 * After `gradNorm` of scaled gradients has filled the first half of `norm` (f32 [4]): makes it what updates of scaled gradients
 * need, and adapts the scale by the rule. `guard`: see `countNonFiniteLoss`. Not differentiable.
 */
export function updateLossScale(
  norm: Tensor,
  { scale, tracker, skipped }: LossScale,
  { growth, backoff, interval }: LossScaleRule,
  guard: { readonly count: Tensor; readonly permanent: boolean } | null,
): void {
  const problem = { growth, backoff, interval, guard: guard !== null, permanent: guard?.permanent ?? false };
  const tensors = { norm, scale, tracker, skipped, ...(guard && { guard: guard.count }) };
  norm.engine.run('updateLossScale', scalerStep, problem, tensors);
}

/** Takes skipped steps out of AdamW's bias corrections: `hyper` has a row per group, then one that begins with the step number. */
export function discountSkipped(hyper: Tensor, skipped: Tensor, beta1: number, beta2: number): void {
  const groups = hyper.size / 4 - 1;
  hyper.engine.run('discountSkipped', adamWSkipped, { groups, beta1, beta2 }, { hyper, skipped });
}
