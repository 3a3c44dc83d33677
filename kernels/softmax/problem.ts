import { require } from '../lib/kernel.ts';
import type { Cost } from '../lib/kernel.ts';
import type { RowShape } from '../lib/row-plan.ts';

export interface SoftmaxProblem extends RowShape {
  readonly log: boolean;
}

/** The problem itself, if it is one. */
export function checked(problem: SoftmaxProblem): SoftmaxProblem {
  const { outer, width, inner } = problem;
  require(outer > 0 && width > 0 && inner > 0, 'softmax', 'sizes of at least 1', [outer, width, inner]);
  return problem;
}

export const elementsOf = ({ outer, width, inner }: RowShape): number => outer * width * inner;

export const forwardCost = (problem: SoftmaxProblem): Cost => ({
  flops: 8 * elementsOf(problem),
  bytes: 8 * elementsOf(problem),
});

export const backwardCost = (problem: SoftmaxProblem): Cost => ({
  flops: (problem.log ? 7 : 4) * elementsOf(problem),
  bytes: 12 * elementsOf(problem),
});
