import type { BinaryName } from '../../kernels/binary/index.ts';

/** An operator of two operands: the formula and both derivatives in float64. */
export interface BinaryCase {
  readonly op: BinaryName;
  readonly f: (a: number, b: number) => number;
  readonly derivatives: readonly [(a: number, b: number) => number, (a: number, b: number) => number];
  /** Whether the left operand must be positive, and the right one away from zero. */
  readonly positive?: boolean;
}

const half = (own: number, other: number): number => (own > other ? 1 : own === other ? 0.5 : 0);

export const BINARY_CASES: readonly BinaryCase[] = [
  { op: 'add', f: (a, b) => a + b, derivatives: [() => 1, () => 1] },
  { op: 'sub', f: (a, b) => a - b, derivatives: [() => 1, () => -1] },
  { op: 'mul', f: (a, b) => a * b, derivatives: [(_, b) => b, (a) => a] },
  { op: 'div', f: (a, b) => a / b, derivatives: [(_, b) => 1 / b, (a, b) => -a / b ** 2], positive: true },
  { op: 'maximum', f: Math.max, derivatives: [half, (a, b) => half(b, a)] },
  { op: 'minimum', f: Math.min, derivatives: [(a, b) => half(b, a), half] },
  {
    op: 'pow',
    f: Math.pow,
    derivatives: [(a, b) => b * a ** (b - 1), (a, b) => a ** b * Math.log(a)],
    positive: true,
  },
];

/** Shapes of two operands; the comment names the way in which the smaller one is read. */
export const BROADCAST_CASES: readonly (readonly [readonly number[], readonly number[]])[] = [
  [[1030], [1030]], // full
  [[3, 5], []], // one value
  [
    [1, 1],
    [2, 3, 4],
  ], // one value, on the left
  [[6, 8], [8]], // row
  [
    [2, 3, 4],
    [3, 4],
  ], // row of two dimensions
  [
    [1, 5, 8],
    [3, 5, 8],
  ], // row, on the left
  [[33, 65], [65]], // row that is not made of vectors: strided
  [
    [5, 8],
    [5, 1],
  ], // splat
  [
    [2, 3, 4, 4],
    [1, 3, 1, 1],
  ], // splat in the middle
  [
    [4, 7],
    [4, 1],
  ], // strided
  [
    [3, 1],
    [1, 5],
  ], // both strided
  [
    [2, 1, 4],
    [1, 3, 1],
  ], // strided and splat
  [
    [2, 3, 2, 3, 2, 3],
    [3, 1, 3, 1, 3],
  ], // six dimensions
];
