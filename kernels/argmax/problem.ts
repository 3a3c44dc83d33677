import { require } from '../lib/kernel.ts';

export interface ArgmaxProblem {
  outer: number;
  reduce: number;
  inner: number;
}

/** The problem itself, if it is one. */
export function checked(problem: ArgmaxProblem): ArgmaxProblem {
  const { outer, reduce, inner } = problem;
  require(outer > 0 && reduce > 0 && inner > 0, 'argmax', 'no empty dimension', { outer, reduce, inner });
  return problem;
}
