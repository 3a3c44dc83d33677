import type { UnaryName } from './index.ts';

/** f(x) and f'(x) in float64, in terms of x and of the parameters of the operator in the order of its table row. */
interface UnaryReference {
  readonly f: (x: number, ...parameters: number[]) => number;
  readonly derivative: (x: number, ...parameters: number[]) => number;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
/** Ties go to the even neighbour. */
const round = (x: number): number => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** A function with steps: its derivative is 0. */
const step = (f: (x: number) => number): UnaryReference => ({ f, derivative: () => 0 });

/** Every operator of one operand and its derivative, of numbers in float64. */
export const unaryReference: Readonly<Record<UnaryName, UnaryReference>> = {
  neg: { f: (x) => -x, derivative: () => -1 },
  exp: { f: Math.exp, derivative: Math.exp },
  log: { f: Math.log, derivative: (x) => 1 / x },
  sqrt: { f: Math.sqrt, derivative: (x) => 0.5 / Math.sqrt(x) },
  rsqrt: { f: (x) => 1 / Math.sqrt(x), derivative: (x) => -0.5 / Math.sqrt(x) ** 3 },
  reciprocal: { f: (x) => 1 / x, derivative: (x) => -1 / x ** 2 },
  abs: { f: Math.abs, derivative: Math.sign },
  square: { f: (x) => x * x, derivative: (x) => 2 * x },
  relu: { f: (x) => Math.max(x, 0), derivative: (x) => Number(x > 0) },
  sigmoid: { f: sigmoid, derivative: (x) => sigmoid(x) * sigmoid(-x) },
  tanh: { f: Math.tanh, derivative: (x) => 1 - Math.tanh(x) ** 2 },
  silu: { f: (x) => x * sigmoid(x), derivative: (x) => sigmoid(x) * (1 + x * sigmoid(-x)) },
  floor: step(Math.floor),
  ceil: step(Math.ceil),
  round: step(round),
  sign: step(Math.sign),
  sin: { f: Math.sin, derivative: Math.cos },
  cos: { f: Math.cos, derivative: (x) => -Math.sin(x) },
  // Beyond the threshold PyTorch takes the straight line.
  softplus: {
    f: (x, beta, threshold) => (beta * x > threshold ? x : softplus(beta * x) / beta),
    derivative: (x, beta, threshold) => (beta * x > threshold ? 1 : sigmoid(beta * x)),
  },
  logSigmoid: { f: (x) => -softplus(-x), derivative: (x) => sigmoid(-x) },
  mish: {
    f: (x) => x * Math.tanh(softplus(x)),
    derivative: (x) => Math.tanh(softplus(x)) + x * sigmoid(x) * (1 - Math.tanh(softplus(x)) ** 2),
  },
  elu: {
    f: (x, alpha) => (x > 0 ? x : alpha * Math.expm1(x)),
    derivative: (x, alpha) => (x > 0 ? 1 : alpha * Math.exp(x)),
  },
  leakyRelu: { f: (x, slope) => (x > 0 ? x : slope * x), derivative: (x, slope) => (x > 0 ? 1 : slope) },
  hardswish: {
    f: (x) => (x * Math.min(Math.max(x + 3, 0), 6)) / 6,
    derivative: (x) => (x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5),
  },
  clamp: {
    f: (x, low, high) => Math.min(Math.max(x, low), high),
    derivative: (x, low, high) => Number(x > low && x < high),
  },
};
