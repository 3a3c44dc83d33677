import type { BinaryName } from './index.ts';

type Function = (a: number, b: number) => number;

interface BinaryReference {
  readonly f: Function;
  /** Derivatives by a and by b. Null for a comparison, which has none. */
  readonly derivatives: readonly [Function, Function] | null;
}

/** Of the larger of two operands, 1; of equal ones, half of the gradient each. */
const larger = (own: number, other: number): number => (own > other ? 1 : own === other ? 0.5 : 0);

const comparison = (holds: (a: number, b: number) => boolean): BinaryReference => ({
  f: (a, b) => Number(holds(a, b)),
  derivatives: null,
});

/** Every operator of two operands and its derivatives, of numbers in float64. */
export const binaryReference: Readonly<Record<BinaryName, BinaryReference>> = {
  add: { f: (a, b) => a + b, derivatives: [() => 1, () => 1] },
  sub: { f: (a, b) => a - b, derivatives: [() => 1, () => -1] },
  mul: { f: (a, b) => a * b, derivatives: [(_, b) => b, (a) => a] },
  div: { f: (a, b) => a / b, derivatives: [(_, b) => 1 / b, (a, b) => -a / b ** 2] },
  maximum: { f: Math.max, derivatives: [larger, (a, b) => larger(b, a)] },
  minimum: { f: Math.min, derivatives: [(a, b) => larger(b, a), larger] },
  pow: { f: Math.pow, derivatives: [(a, b) => b * a ** (b - 1), (a, b) => a ** b * Math.log(a)] },
  eq: comparison((a, b) => a === b),
  ne: comparison((a, b) => a !== b),
  lt: comparison((a, b) => a < b),
  le: comparison((a, b) => a <= b),
  gt: comparison((a, b) => a > b),
  ge: comparison((a, b) => a >= b),
};
