import { require } from '../lib/kernel.ts';
import type { Draw } from '../lib/philox.ts';

export interface DropPathProblem extends Draw {
  samples: number;
  /** Elements a sample. */
  inner: number;
  rate: number;
  /** Whether a residual is added. */
  add: boolean;
  /** The branch, which is x if a residual is added and else y, is f16 in memory. */
  f16?: boolean;
}

/** The problem itself, if it is one. */
export function checked(problem: DropPathProblem): DropPathProblem {
  const { samples, inner, rate, add } = problem;
  const isProblem = samples > 0 && inner > 0 && rate >= 0 && rate <= 1;
  require(isProblem, nameOf(add), 'elements, and a rate from 0 to 1', { samples, inner, rate });
  return problem;
}

export const nameOf = (add: boolean): string => (add ? 'dropPathAdd' : 'dropPath');

/** Bindings that are f16 in memory. */
export const f16Of = ({ f16, add }: DropPathProblem): string[] => (f16 ? [add ? 'x' : 'y'] : []);
