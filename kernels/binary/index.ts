/**
 * y = f(a, b) element by element with broadcasting, for the operators of two operands.
 *
 * Backward reads what the formula of a side uses (dy, a, b) and writes that side's gradient in the shape of y; the
 * caller sums it over the dimensions along which the operand was broadcast. As in PyTorch, maximum and minimum
 * propagate NaN and split the gradient in half where the operands are equal.
 * Source: the derivatives in PyTorch's tools/autograd/derivatives.yaml.
 *
 * Cost: the table's FLOP an element; memory traffic decides. `deit kernel add` shows the kernels of one of them.
 */
import { broadcastSpec } from '../lib/broadcast.ts';
import type { BroadcastOperand } from '../lib/broadcast.ts';
import { pointwise } from '../lib/elementwise.ts';
import { require } from '../lib/kernel.ts';
import { isNanWgsl, logWgsl, powWgsl } from '../lib/math.ts';

export type Operand = 'a' | 'b';

interface Gradient {
  readonly formula: string;
  /** Operands that the formula reads beside dy. */
  readonly uses: readonly Operand[];
  readonly flops: number;
}

interface Formula {
  readonly forward: string;
  readonly flops: number;
  readonly functions?: string;
  /** Null for a step, which has none. */
  readonly gradients: readonly [Gradient, Gradient] | null;
}

const extremum = (builtin: 'max' | 'min'): Formula => {
  const share = (own: Operand, other: Operand): Gradient => ({
    formula: `select(select(dy, 0.5 * dy, a == b), vec4f(0.0), ${own} ${builtin === 'max' ? '<' : '>'} ${other})`,
    uses: ['a', 'b'],
    flops: 3,
  });
  return {
    forward: `select(select(${builtin}(a, b), b, is_nan4(b)), a, is_nan4(a))`,
    flops: 1,
    functions: isNanWgsl,
    gradients: [share('a', 'b'), share('b', 'a')],
  };
};

/** 1 where it holds, else 0. What is NaN is neither less, nor equal, nor greater. */
const comparison = (operator: string, ofNaN = false): Formula => {
  const holds = ofNaN
    ? `(a ${operator} b) | is_nan4(a) | is_nan4(b)`
    : `(a ${operator} b) & !(is_nan4(a) | is_nan4(b))`;
  return { forward: `select(vec4f(0.0), vec4f(1.0), ${holds})`, flops: 1, functions: isNanWgsl, gradients: null };
};

export const binaryFormulas = {
  add: {
    forward: 'a + b',
    flops: 1,
    gradients: [
      { formula: 'dy', uses: [], flops: 0 },
      { formula: 'dy', uses: [], flops: 0 },
    ],
  },
  sub: {
    forward: 'a - b',
    flops: 1,
    gradients: [
      { formula: 'dy', uses: [], flops: 0 },
      { formula: '-dy', uses: [], flops: 1 },
    ],
  },
  mul: {
    forward: 'a * b',
    flops: 1,
    gradients: [
      { formula: 'dy * b', uses: ['b'], flops: 1 },
      { formula: 'dy * a', uses: ['a'], flops: 1 },
    ],
  },
  div: {
    forward: 'a / b',
    flops: 1,
    gradients: [
      { formula: 'dy / b', uses: ['b'], flops: 1 },
      { formula: '-dy * (a / b / b)', uses: ['a', 'b'], flops: 4 },
    ],
  },
  maximum: extremum('max'),
  minimum: extremum('min'),
  eq: comparison('=='),
  ne: comparison('!=', true),
  lt: comparison('<'),
  le: comparison('<='),
  gt: comparison('>'),
  ge: comparison('>='),
  pow: {
    forward: 'accurate_pow4(a, b)',
    flops: 60,
    functions: powWgsl + logWgsl,
    gradients: [
      {
        formula: 'select(dy * (b * accurate_pow4(a, b - 1.0)), vec4f(0.0), b == vec4f(0.0))',
        uses: ['a', 'b'],
        flops: 63,
      },
      {
        formula:
          'select(dy * (accurate_pow4(a, b) * accurate_log4(a)), vec4f(0.0), (a == vec4f(0.0)) & (b >= vec4f(0.0)))',
        uses: ['a', 'b'],
        flops: 82,
      },
    ],
  },
} as const satisfies Record<string, Formula>;

export type BinaryName = keyof typeof binaryFormulas;

export interface BinaryProblem {
  op: BinaryName;
  /** Shape of y. */
  shape: readonly number[];
  a: BroadcastOperand;
  b: BroadcastOperand;
}

/** Bindings a_data, b_data (where they are tensors), y_data. */
export const binaryForward = pointwise<BinaryProblem>('binary.forward', ({ op, shape, a, b }) => {
  const formula: Formula = binaryFormulas[op];
  return broadcastSpec({
    name: `${op}.forward`,
    shape,
    operands: { a, b },
    functions: formula.functions,
    formula: formula.forward,
    flops: formula.flops,
  });
});

/** Bindings dy_data, those of a_data and b_data that the side's formula uses, and y_data, which is the gradient. */
export const binaryGradient = pointwise<BinaryProblem & { side: 0 | 1 }>(
  'binary.backward',
  ({ op, shape, a, b, side }) => {
    const { functions, gradients }: Formula = binaryFormulas[op];
    require(gradients !== null, `${op}.backward`, 'an operator with a gradient', op);
    const { formula, uses, flops } = gradients[side];
    const operands = Object.fromEntries(uses.map((name) => [name, name === 'a' ? a : b]));
    return broadcastSpec({
      name: `${op}.backward`,
      shape,
      operands: { dy: { shape }, ...operands },
      functions,
      formula,
      flops,
    });
  },
);
