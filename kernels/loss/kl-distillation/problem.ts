import { require } from '../../lib/kernel.ts';
import { requireRows } from '../logits.ts';
import type { Logits } from '../logits.ts';

export interface KlProblem extends Logits {
  readonly tau: number;
}

export interface KlBackwardProblem extends KlProblem {
  /** As in the formula. */
  readonly divisor: number;
}

/** The problem itself, if it is one. */
export function checked<Problem extends KlProblem>(problem: Problem): Problem {
  requireRows(problem, 'kl_distillation');
  require(problem.tau > 0, 'kl_distillation', 'tau > 0', problem.tau);
  return problem;
}
