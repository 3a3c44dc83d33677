import { input, output, require } from '../lib/kernel.ts';
import type { Binding, Cost } from '../lib/kernel.ts';

export interface LayerNormProblem {
  readonly rows: number;
  readonly width: number;
  readonly eps: number;
  readonly weight: boolean;
  readonly bias: boolean;
  /** y is f16 in memory. */
  readonly f16?: boolean;
}

export interface LayerNormBackwardProblem {
  readonly rows: number;
  readonly width: number;
  readonly weight: boolean;
  /** A gradient that reached x along another path is added to dx. */
  readonly pending: boolean;
  /** Whether dx is wanted. */
  readonly dx: boolean;
  /** Whether dweight and dbias are wanted. */
  readonly affine: boolean;
  /** dy is f16 in memory. */
  readonly f16?: boolean;
  /** dx is written in f16 too. */
  readonly rounded?: boolean;
}

/** The problem itself, if it is one. */
export function checked<Problem extends { rows: number; width: number }>(problem: Problem): Problem {
  const { rows, width } = problem;
  require(rows > 0 && width > 0, 'layer_norm', 'sizes of at least 1', [rows, width]);
  return problem;
}

export const forwardBindings = ({ weight, bias }: LayerNormProblem, element: string): Binding[] => [
  input('x', element),
  output('y', element),
  output('stats', 'vec2f'),
  ...(weight ? [input('weight', element)] : []),
  ...(bias ? [input('bias', element)] : []),
];

/** Of the kernel that writes dx. */
export const backwardBindings = (
  { weight, pending, rounded }: LayerNormBackwardProblem,
  element: string,
): Binding[] => [
  input('x', element),
  input('dy', element),
  input('stats', 'vec2f'),
  output('dx', element),
  ...(weight ? [input('weight', element)] : []),
  ...(pending ? [input('pending', element)] : []),
  ...(rounded ? [output('rounded', element)] : []),
];

/** Bindings of the backward pass that are f16 in memory. */
export const f16OfBackward = ({ f16, rounded }: LayerNormBackwardProblem): string[] => [
  ...(f16 ? ['dy'] : []),
  ...(rounded ? ['rounded'] : []),
];

export const forwardCost = ({ width, f16 }: LayerNormProblem, rows: number): Cost => ({
  flops: 8 * rows * width,
  bytes: (f16 ? 6 : 8) * rows * width,
});

export const backwardCost = (
  { width, pending, f16, rounded }: LayerNormBackwardProblem,
  rows: number,
  withColumns = false,
): Cost => ({
  flops: (withColumns ? 15 : 12) * rows * width,
  bytes: ((pending ? 16 : 12) - (f16 ? 2 : 0) + (rounded ? 2 : 0)) * rows * width,
});

/** Bytes of the largest tensor. */
export const largestTensor = ({ rows, width }: { rows: number; width: number }): number =>
  Math.max(4 * rows * width, 8 * rows);
