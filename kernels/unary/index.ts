/**
 * y = f(x) element by element, for the operators of one operand.
 *
 * Shapes: all of n elements, f32. Backward reads what the table says forward keeps (its input x, its output y, or
 * nothing) and writes dx = dy f'(x). Non-finite values follow PyTorch: NaN stays NaN, relu(NaN) included.
 * Source: the derivatives in PyTorch's tools/autograd/derivatives.yaml.
 */
import { elementwise } from '../lib/elementwise.ts';
import { input, output, require } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { expWgsl, logWgsl, rectified, tanhWgsl } from '../lib/math.ts';

interface Formula {
  /** WGSL of f, in terms of `x: vec4f`. */
  readonly forward: string;
  /** WGSL of the gradient, in terms of `dy` and of what is kept (`x` or `y`). */
  readonly backward: string;
  readonly keeps: 'x' | 'y' | null;
  readonly functions?: string;
  /** FLOP an element, of forward and of backward. */
  readonly flops: readonly [number, number];
}

/** 1 / (1 + exp(-x)) with a non-positive exponent, so that nothing overflows. */
const sigmoidWgsl = /* wgsl */ `
${expWgsl}
fn sigmoid4(x: vec4f) -> vec4f {
  let e = accurate_exp4(-abs(x));
  return select(vec4f(1.0), e, x < vec4f(0.0)) / (1.0 + e);
}
`;

export const unaryFormulas = {
  neg: { forward: '-x', backward: '-dy', keeps: null, flops: [1, 1] },
  exp: { forward: 'accurate_exp4(x)', backward: 'dy * y', keeps: 'y', functions: expWgsl, flops: [16, 1] },
  log: { forward: 'accurate_log4(x)', backward: 'dy / x', keeps: 'x', functions: logWgsl, flops: [20, 1] },
  sqrt: { forward: 'sqrt(x)', backward: 'dy / (2.0 * y)', keeps: 'y', flops: [1, 2] },
  // The built-in inverseSqrt is an estimate on some devices; square root and division are not.
  rsqrt: { forward: '1.0 / sqrt(x)', backward: '-0.5 * dy * y * y * y', keeps: 'y', flops: [2, 4] },
  reciprocal: { forward: '1.0 / x', backward: '-dy * y * y', keeps: 'y', flops: [1, 3] },
  abs: { forward: 'abs(x)', backward: 'dy * sign(x)', keeps: 'x', flops: [1, 2] },
  square: { forward: 'x * x', backward: '2.0 * x * dy', keeps: 'x', flops: [1, 2] },
  relu: {
    forward: rectified('x', 'vec4f'),
    backward: 'select(dy, vec4f(0.0), y == vec4f(0.0))',
    keeps: 'y',
    flops: [1, 1],
  },
  sigmoid: {
    forward: 'sigmoid4(x)',
    backward: 'dy * (1.0 - y) * y',
    keeps: 'y',
    functions: sigmoidWgsl,
    flops: [19, 3],
  },
  tanh: {
    forward: 'accurate_tanh4(x)',
    backward: 'dy * (1.0 - y * y)',
    keeps: 'y',
    functions: tanhWgsl,
    flops: [20, 3],
  },
  silu: {
    forward: 'x * sigmoid4(x)',
    backward: 'silu_gradient4(dy, x)',
    keeps: 'x',
    functions: /* wgsl */ `${sigmoidWgsl}
fn silu_gradient4(dy: vec4f, x: vec4f) -> vec4f {
  let s = sigmoid4(x);
  return dy * s * (1.0 + x * (1.0 - s));
}
`,
    flops: [20, 24],
  },
} as const satisfies Record<string, Formula>;

export type UnaryName = keyof typeof unaryFormulas;

export interface UnaryProblem {
  op: UnaryName;
  n: number;
}

/** Bindings x, y. */
export const unaryForward: Kernel<UnaryProblem> = ({ op, n }, device) => {
  require(n > 0, `${op}.forward`, 'at least one element', n);
  const formula: Formula = unaryFormulas[op];
  return elementwise(
    {
      name: `${op}.forward`,
      n,
      bindings: [input('x_data', 'vec4f'), output('y_data', 'vec4f')],
      functions: formula.functions,
      body: `let x = x_data[i]; y_data[i] = ${formula.forward};`,
      flopsPerElement: formula.flops[0],
    },
    device,
  );
};

/** Bindings dy_data, kept (unless nothing is kept), dx_data. */
export const unaryBackward: Kernel<UnaryProblem> = ({ op, n }, device) => {
  require(n > 0, `${op}.backward`, 'at least one element', n);
  const formula: Formula = unaryFormulas[op];
  const kept = formula.keeps === null ? [] : [input('kept', 'vec4f')];
  return elementwise(
    {
      name: `${op}.backward`,
      n,
      bindings: [input('dy_data', 'vec4f'), ...kept, output('dx_data', 'vec4f')],
      functions: formula.functions,
      body: `let dy = dy_data[i]; ${formula.keeps ? `let ${formula.keeps} = kept[i];` : ''} dx_data[i] = ${formula.backward};`,
      flopsPerElement: formula.flops[1],
    },
    device,
  );
};
