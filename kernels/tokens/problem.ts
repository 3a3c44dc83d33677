import { require } from '../lib/kernel.ts';

export interface TokensProblem {
  readonly batch: number;
  /** Patches of one image. */
  readonly patches: number;
  readonly width: number;
  /** Whether there is a distillation token: prefix 2 instead of 1. */
  readonly dist: boolean;
}

export interface TokensEmbeddingProblem extends TokensProblem {
  /** Which of the gradients dpos, dcls and ddist are wanted. */
  readonly wanted: readonly ('dpos' | 'dcls' | 'ddist')[];
}

/** The problem itself. Throws `bad-argument` where a size is 0. */
export function checked<Problem extends TokensProblem>(problem: Problem): Problem {
  const { batch, patches, width } = problem;
  require(batch > 0 && patches > 0 && width > 0, 'tokens', 'positive sizes', [batch, patches, width]);
  return problem;
}

/** Tokens of one image that are no patches. */
export const prefixOf = ({ dist }: TokensProblem): number => (dist ? 2 : 1);

/** Tokens of one image. */
export const tokensOf = (problem: TokensProblem): number => problem.patches + prefixOf(problem);
