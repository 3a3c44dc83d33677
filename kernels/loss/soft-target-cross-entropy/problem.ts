import { requireRows } from '../logits.ts';
import type { Logits } from '../logits.ts';

export type SoftTargetProblem = Logits;

/** The problem itself, if it is one. */
export function checked(problem: SoftTargetProblem): SoftTargetProblem {
  requireRows(problem, 'soft_target_cross_entropy');
  return problem;
}
