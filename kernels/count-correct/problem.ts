import { require } from '../lib/kernel.ts';
import { requireRows } from '../loss/logits.ts';
import type { Logits } from '../loss/logits.ts';

export interface TopHitsProblem extends Logits {
  readonly k: number;
}

/** The problem itself, if it is one. */
export function checked(problem: TopHitsProblem): TopHitsProblem {
  requireRows(problem, 'top_hits');
  require(problem.k >= 1, 'top_hits', 'k >= 1', problem.k);
  return problem;
}
