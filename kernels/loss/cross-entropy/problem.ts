import { requireRows, requireSmoothing } from '../logits.ts';
import type { Logits } from '../logits.ts';

export interface CrossEntropyProblem extends Logits {
  readonly smoothing: number;
}

/** The problem itself, if it is one. */
export function checked(problem: CrossEntropyProblem): CrossEntropyProblem {
  requireRows(problem, 'cross_entropy');
  requireSmoothing(problem.smoothing, 'cross_entropy');
  return problem;
}
