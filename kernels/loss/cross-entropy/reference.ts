import { softTargetReference } from '../soft-target-cross-entropy/reference.ts';
import type { CrossEntropyProblem } from './problem.ts';

/** The targets [rows, width] of labels, smoothed as PyTorch does it: eps is spread over all classes. */
export const smoothedTargets = ({ width, smoothing }: CrossEntropyProblem, labels: readonly number[]): number[] =>
  labels.flatMap((label) =>
    Array.from({ length: width }, (_, c) => (c === label ? 1 - smoothing : 0) + smoothing / width),
  );

/** Cross-entropy with labels in float64, mean over rows, and its gradient: that with the labels' distributions. */
export const crossEntropyReference = (
  problem: CrossEntropyProblem,
  logits: ArrayLike<number>,
  labels: readonly number[],
) => softTargetReference(problem, logits, smoothedTargets(problem, labels));
