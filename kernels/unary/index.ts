/**
 * y = f(x) element by element, for the operators of one operand and perhaps a few numbers. A new one is a row of the table
 * here, a line in engine/ops/unary.ts, and its declaration in test/cases/operators/unary.json.
 *
 * Shapes: all of n elements, f32. Backward reads what the table says forward keeps (its input x, its output y, or
 * nothing) and writes the gradient dx = dy f'(x). Non-finite values follow PyTorch: NaN stays NaN, relu(NaN) included.
 * Source: the derivatives in PyTorch's tools/autograd/derivatives.yaml.
 *
 * Cost: the table's FLOP an element; memory traffic decides. `deit kernel exp` shows the kernels of one of them.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import { floatBits } from '../lib/broadcast.ts';
import { expWgsl, expm1Wgsl, isNanWgsl, log1pWgsl, logWgsl, rectified, sinWgsl, tanhWgsl } from '../lib/math.ts';

interface Formula {
  /** WGSL of f, in terms of `x: vec4f`. */
  readonly forward: string;
  /** WGSL of the gradient, in terms of `dy` and of what is kept (`x` or `y`). */
  readonly backward: string;
  readonly keeps: 'x' | 'y' | null;
  readonly functions?: string;
  /** What both passes compute first. */
  readonly let?: string;
  /** Numbers that f takes beside x, by their names in the WGSL, and what PyTorch takes if none are given. */
  readonly parameters?: Readonly<Record<string, number>>;
  /** FLOP an element, of forward and of backward. */
  readonly flops: readonly [number, number];
}

/** The gradient of a function with steps: zero, whatever x. */
const step = (forward: string): Formula => ({ forward, backward: 'vec4f(0.0)', keeps: null, flops: [1, 0] });

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
  floor: step('floor(x)'),
  ceil: step('ceil(x)'),
  // Ties go to the even neighbour, in WGSL as in PyTorch.
  round: step('round(x)'),
  // PyTorch's sign of NaN is 0.
  sign: { ...step('select(sign(x), vec4f(0.0), is_nan4(x))'), functions: isNanWgsl },
  sin: { forward: 'sin4(x)', backward: 'dy * cos4(x)', keeps: 'x', functions: sinWgsl, flops: [20, 21] },
  cos: { forward: 'cos4(x)', backward: '-dy * sin4(x)', keeps: 'x', functions: sinWgsl, flops: [20, 22] },
  // Beyond the threshold PyTorch takes the straight line.
  softplus: {
    forward: 'select((max(z, vec4f(0.0)) + log1p4(accurate_exp4(-abs(z)))) / beta, x, z > vec4f(threshold))',
    backward: 'select(dy * sigmoid4(z), dy, z > vec4f(threshold))',
    keeps: 'x',
    functions: sigmoidWgsl + log1pWgsl,
    parameters: { beta: 1, threshold: 20 },
    let: 'z = beta * x',
    flops: [40, 22],
  },
  logSigmoid: {
    forward: 'min(x, vec4f(0.0)) - log1p4(accurate_exp4(-abs(x)))',
    backward: 'dy * sigmoid4(-x)',
    keeps: 'x',
    functions: sigmoidWgsl + log1pWgsl,
    flops: [40, 21],
  },
  // x tanh(log(1 + e^x)); with e = exp(-|x|) the tanh is a ratio of polynomials in e that cancels nowhere.
  mish: {
    forward: 'x * mish_gate4(x)',
    backward: 'mish_gradient4(dy, x)',
    keeps: 'x',
    functions: /* wgsl */ `${sigmoidWgsl}
fn mish_gate4(x: vec4f) -> vec4f {
  let e = accurate_exp4(-abs(x));
  let below = e * (e + 2.0);
  let above = 1.0 + 2.0 * e;
  return select(above / (above + 2.0 * e * e), below / (below + 2.0), x < vec4f(0.0));
}
fn mish_gradient4(dy: vec4f, x: vec4f) -> vec4f {
  let e = accurate_exp4(-abs(x));
  let below = e * (e + 2.0) + 2.0;
  let above = 1.0 + 2.0 * e + 2.0 * e * e;
  // 1 - tanh^2.
  let slope = 4.0 * (1.0 + e) * (1.0 + e) * select(e * e / (above * above), 1.0 / (below * below), x < vec4f(0.0));
  return dy * (mish_gate4(x) + x * slope * sigmoid4(x));
}
`,
    flops: [30, 70],
  },
  elu: {
    forward: 'select(alpha * expm1_4(x), x, x > vec4f(0.0))',
    backward: 'select(dy * alpha * accurate_exp4(min(x, vec4f(0.0))), dy, x > vec4f(0.0))',
    keeps: 'x',
    functions: expWgsl + expm1Wgsl,
    parameters: { alpha: 1 },
    flops: [40, 18],
  },
  leakyRelu: {
    forward: 'select(negative_slope * x, x, x > vec4f(0.0))',
    backward: 'select(negative_slope * dy, dy, x > vec4f(0.0))',
    keeps: 'x',
    parameters: { negative_slope: 0.01 },
    flops: [1, 1],
  },
  hardswish: {
    forward: 'select(x * clamp(x + 3.0, vec4f(0.0), vec4f(6.0)) / 6.0, x, is_nan4(x))',
    backward: 'select(select(dy * (x / 3.0 + 0.5), dy, x >= vec4f(3.0)), vec4f(0.0), x <= vec4f(-3.0))',
    keeps: 'x',
    functions: isNanWgsl,
    flops: [5, 4],
  },
  // At a bound the gradient is 0, as in PyTorch from 2.15 on.
  clamp: {
    forward: 'select(min(max(x, vec4f(low)), vec4f(high)), x, is_nan4(x))',
    backward: 'select(vec4f(0.0), dy, (x > vec4f(low)) & (x < vec4f(high)))',
    keeps: 'x',
    functions: isNanWgsl,
    parameters: { low: -Infinity, high: Infinity },
    flops: [2, 2],
  },
} as const satisfies Record<string, Formula>;

export type UnaryName = keyof typeof unaryFormulas;

export interface UnaryProblem {
  op: UnaryName;
  n: number;
  /** The f32 bits of the numbers that f takes beside x, in the order of its table row; those of the row if absent. */
  parameters?: readonly number[];
}

/** The parameters as uniforms, and the WGSL that names them and what both passes compute first. */
function parametersOf({ parameters = {}, let: first }: Formula, given?: readonly number[]) {
  const names = Object.keys(parameters);
  const bits = given ?? Object.values(parameters).map(floatBits);
  return {
    uniforms: Object.fromEntries(names.map((name, i) => [name, u32(bits[i])])),
    lets:
      names.map((name) => `let ${name} = bitcast<f32>(params.${name}); `).join('') + (first ? `let ${first}; ` : ''),
  };
}

/** Bindings x, y. */
export const unaryForward = pointwise<UnaryProblem>('unary.forward', ({ op, n, parameters }) => {
  const formula: Formula = unaryFormulas[op];
  const { uniforms, lets } = parametersOf(formula, parameters);
  return {
    name: `${op}.forward`,
    n,
    bindings: [input('x_data', 'vec4f'), output('y_data', 'vec4f')],
    functions: formula.functions,
    uniforms,
    body: `let x = x_data[i]; ${lets}y_data[i] = ${formula.forward};`,
    flopsPerElement: formula.flops[0],
  };
});

/** Bindings dy_data, kept (unless nothing is kept), dx_data. */
export const unaryBackward = pointwise<UnaryProblem>('unary.backward', ({ op, n, parameters }) => {
  const formula: Formula = unaryFormulas[op];
  const { uniforms, lets } = parametersOf(formula, parameters);
  const kept = formula.keeps === null ? [] : [input('kept', 'vec4f')];
  return {
    name: `${op}.backward`,
    n,
    bindings: [input('dy_data', 'vec4f'), ...kept, output('dx_data', 'vec4f')],
    functions: formula.functions,
    uniforms,
    body: `let dy = dy_data[i]; ${formula.keeps ? `let ${formula.keeps} = kept[i];` : ''} ${lets}dx_data[i] = ${formula.backward};`,
    flopsPerElement: formula.flops[1],
  };
});
