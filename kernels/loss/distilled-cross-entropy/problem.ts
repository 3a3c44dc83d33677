import { requireRows, requireSmoothing } from '../logits.ts';
import type { Logits } from '../logits.ts';

export interface DistilledCrossEntropyProblem extends Logits {
  readonly target: 'labels' | 'distribution';
  /** Of the labels. */
  readonly smoothing: number;
}

export interface DistilledBackwardProblem extends DistilledCrossEntropyProblem {
  readonly alpha: number;
}

/** The problem itself, if it is one. */
export function checked<Problem extends DistilledCrossEntropyProblem>(problem: Problem): Problem {
  requireRows(problem, 'distilled_cross_entropy');
  requireSmoothing(problem.smoothing, 'distilled_cross_entropy');
  return problem;
}
