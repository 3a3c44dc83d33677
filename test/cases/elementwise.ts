import type { UnaryName } from '../../kernels/unary/index.ts';
import type { BinaryName } from '../../kernels/binary/index.ts';

/** An operator of one operand: the formula and its derivative in float64, and where to try it. */
export interface UnaryCase {
  readonly op: UnaryName;
  readonly f: (x: number) => number;
  readonly derivative: (x: number) => number;
  /** Points are drawn from here, in equal steps of the logarithm if `positive`. */
  readonly from: number;
  readonly to: number;
  readonly positive?: boolean;
  /** Results at NaN, infinity, -infinity, 0, -1. */
  readonly special: readonly [number, number, number, number, number];
}

const logistic = (x: number): number => 1 / (1 + Math.exp(-x));

export const UNARY_CASES: readonly UnaryCase[] = [
  { op: 'neg', f: (x) => -x, derivative: () => -1, from: -1e30, to: 1e30, special: [NaN, -Infinity, Infinity, 0, 1] },
  { op: 'exp', f: Math.exp, derivative: Math.exp, from: -80, to: 80, special: [NaN, Infinity, 0, 1, Math.exp(-1)] },
  {
    op: 'log',
    f: Math.log,
    derivative: (x) => 1 / x,
    from: 1e-30,
    to: 1e30,
    positive: true,
    special: [NaN, Infinity, NaN, -Infinity, NaN],
  },
  {
    op: 'sqrt',
    f: Math.sqrt,
    derivative: (x) => 0.5 / Math.sqrt(x),
    from: 1e-30,
    to: 1e30,
    positive: true,
    special: [NaN, Infinity, NaN, 0, NaN],
  },
  {
    op: 'rsqrt',
    f: (x) => 1 / Math.sqrt(x),
    derivative: (x) => -0.5 * x ** -1.5,
    from: 1e-20,
    to: 1e20,
    positive: true,
    special: [NaN, 0, NaN, Infinity, NaN],
  },
  {
    op: 'reciprocal',
    f: (x) => 1 / x,
    derivative: (x) => -1 / x ** 2,
    from: 1e-15,
    to: 1e15,
    positive: true,
    special: [NaN, 0, 0, Infinity, -1],
  },
  { op: 'abs', f: Math.abs, derivative: Math.sign, from: -1e30, to: 1e30, special: [NaN, Infinity, Infinity, 0, 1] },
  {
    op: 'square',
    f: (x) => x * x,
    derivative: (x) => 2 * x,
    from: -1e15,
    to: 1e15,
    special: [NaN, Infinity, Infinity, 0, 1],
  },
  {
    op: 'relu',
    f: (x) => Math.max(x, 0),
    derivative: (x) => (x > 0 ? 1 : 0),
    from: -1e30,
    to: 1e30,
    special: [NaN, Infinity, 0, 0, 0],
  },
  {
    op: 'sigmoid',
    f: logistic,
    derivative: (x) => logistic(x) * logistic(-x),
    from: -80,
    to: 10,
    special: [NaN, 1, 0, 0.5, logistic(-1)],
  },
  {
    op: 'tanh',
    f: Math.tanh,
    derivative: (x) => 1 - Math.tanh(x) ** 2,
    from: -3,
    to: 3,
    special: [NaN, 1, -1, 0, Math.tanh(-1)],
  },
  {
    op: 'silu',
    f: (x) => x * logistic(x),
    derivative: (x) => logistic(x) * (1 + x * logistic(-x)),
    from: -30,
    to: 30,
    // 0 times -infinity, as in PyTorch.
    special: [NaN, Infinity, NaN, 0, -logistic(-1)],
  },
];

export const UNARY_SHAPES: readonly (readonly number[])[] = [[], [1], [5], [3, 7], [2, 33, 4], [1030]];

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
