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
  /** dx is written once more, in this type, */
  readonly copy?: 'f16' | 'f32';
  /** and there times row_scale [rows], if there is one. */
  readonly rowScale?: boolean;
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
  { weight, pending, copy, rowScale }: LayerNormBackwardProblem,
  element: string,
): Binding[] => [
  input('x', element),
  input('dy', element),
  input('stats', 'vec2f'),
  output('dx', element),
  ...(weight ? [input('weight', element)] : []),
  ...(pending ? [input('pending', element)] : []),
  ...(copy ? [output('copy', element)] : []),
  ...(copy && rowScale ? [input('row_scale')] : []),
];

/** WGSL: what is written of `result`, an element of row `row` of dx, by binding. */
export const resultsOf = ({ copy, rowScale }: LayerNormBackwardProblem, row: string): Record<string, string> => ({
  dx: 'result',
  ...(copy && { copy: rowScale ? `result * row_scale[${row}]` : 'result' }),
});

/** Bytes that an element takes in the copy of dx. */
export const copyBytes = ({ copy }: LayerNormBackwardProblem): number => ({ f16: 2, f32: 4, none: 0 })[copy ?? 'none'];

/** Bindings of the backward pass that are f16 in memory. */
export const f16OfBackward = ({ f16, copy }: LayerNormBackwardProblem): string[] => [
  ...(f16 ? ['dy'] : []),
  ...(copy === 'f16' ? ['copy'] : []),
];

export const forwardCost = ({ width, f16 }: LayerNormProblem, rows: number): Cost => ({
  flops: 8 * rows * width,
  bytes: (f16 ? 6 : 8) * rows * width,
});

export const backwardCost = (problem: LayerNormBackwardProblem, rows: number, withColumns = false): Cost => ({
  flops: (withColumns ? 15 : 12) * rows * problem.width,
  bytes: ((problem.pending ? 16 : 12) - (problem.f16 ? 2 : 0) + copyBytes(problem)) * rows * problem.width,
});

/** Bytes of the largest tensor. */
export const largestTensor = ({ rows, width }: { rows: number; width: number }): number =>
  Math.max(4 * rows * width, 8 * rows);
