import type { ScalerProblem } from './index.ts';

/** The numbers that `scalerStep` reads and writes. */
export interface ScalerState {
  norm: number[];
  scale: number;
  tracker: number;
  skipped: number;
  guard: number;
}

/** One step of dynamic loss scaling: torch.amp.GradScaler's rule, with f32's largest number as the limit. */
export function scalerReference(
  { growth, backoff, interval, guard: hasGuard, permanent }: ScalerProblem,
  { norm: [norm, nonFinite], scale, tracker, skipped, guard }: ScalerState,
): ScalerState {
  const losses = hasGuard ? guard : 0;
  const bad = nonFinite + losses;
  const faults = losses + (scale <= 1 ? nonFinite : 0);
  const isDue = bad === 0 && tracker + 1 >= interval;
  const grown = Number.isFinite(Math.fround(scale * growth)) ? scale * growth : scale;
  return {
    norm: [norm / scale, bad, 1 / scale, faults],
    scale: bad > 0 ? scale * backoff : isDue ? grown : scale,
    tracker: bad > 0 || isDue ? 0 : tracker + 1,
    skipped: skipped + (bad > 0 ? 1 : 0),
    guard: hasGuard ? (permanent ? faults : 0) : guard,
  };
}

/** The factors [learning rate, square root] by which Adam's bias corrections change when `skipped` of `all` steps were none. */
export function adamWSkippedReference(beta1: number, beta2: number, all: number, skipped: number): [number, number] {
  const taken = Math.max(all - skipped, 1);
  return [(1 - beta1 ** all) / (1 - beta1 ** taken), Math.sqrt((1 - beta2 ** taken) / (1 - beta2 ** all))];
}
