/**
 * Gaussian error linear unit (Hendrycks and Gimpel, 2016), elementwise. Phi and phi are the normal distribution's
 * cumulative function and density:
 *
 *     none:  y = x Phi(x),                 dx = dy (Phi(x) + x phi(x))
 *     tanh:  y = x sigmoid(2 u),           dx = dy (s + x s (1 - s) 2 u'),  s = sigmoid(2 u)
 *            u = sqrt(2 / pi) (x + 0.044715 x^3)
 *
 * The tanh form is PyTorch's 0.5 x (1 + tanh(u)) written without the cancellation, and without a built-in that is allowed
 * to be off by hundreds of units in the last place. Backward needs x. Gradients are written.
 *
 * Cost: 20 FLOP per element forward, 26 backward (tanh: 10 and 15); memory traffic decides. `deit kernel gelu` shows the kernels.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, output } from '../lib/kernel.ts';

export type GeluApproximation = 'none' | 'tanh';

export interface GeluProblem {
  readonly n: number;
  readonly approximate: GeluApproximation;
  /** Everything is f16 in memory. */
  readonly f16?: boolean;
}

/**
 * Phi(x) = erfc(-x / sqrt(2)) / 2. The logarithm of erfc(t / sqrt(2)) is nearly a parabola: a polynomial of degree ten
 * through zero has it for all t, within 2e-8 of Phi, and the tail of the negative side keeps its digits (4e-6 relative down
 * to x = -5), which 0.5 + 0.5 erf(x / sqrt(2)) loses to cancellation. Other kernels fuse GELU with these snippets.
 */
const exactWgsl = /* wgsl */ `
fn gate(x: vec4f) -> vec4f {
  // Beyond, the tail is 0 in f32.
  let t = min(abs(x), vec4f(14.0));
  var p = t * -1.37016845e-8 + 4.40495305e-7;
  p = p * t - 6.02413886e-6;
  p = p * t + 4.43753660e-5;
  p = p * t - 1.66464606e-4;
  p = p * t - 5.14438836e-5;
  p = p * t + 4.87107502e-3;
  p = p * t - 3.63823315e-2;
  p = p * t - 3.18298560e-1;
  p = p * t - 7.97885456e-1;
  let tail = 0.5 * exp(p * t);
  return select(1.0 - tail, tail, x < vec4f(0.0));
}
/** Derivative of x gate(x). */
fn slope(x: vec4f) -> vec4f {
  return gate(x) + x * exp(-0.5 * min(x * x, vec4f(170))) * 0.39894228040143268;
}
`;

const tanhWgsl = /* wgsl */ `
// Twice the argument of tanh; the bound keeps exp finite, where the gate is 0 or 1 to the last bit.
fn twice_u(x: vec4f) -> vec4f {
  return clamp(1.5957691216057308 * (x + 0.044715 * x * x * x), vec4f(-80), vec4f(80));
}
fn gate(x: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(-twice_u(x)));
}
fn slope(x: vec4f) -> vec4f {
  let bounded = clamp(x, vec4f(-1e4), vec4f(1e4));
  let u = twice_u(bounded);
  // s (1 - s) from exp(-|2 u|): where s is near 1, 1 - s would have no digits left.
  let e = exp(-abs(u));
  let r = 1.0 / (1.0 + e);
  let s = r * select(vec4f(1.0), e, u < vec4f(0.0));
  return s + bounded * e * r * r * (1.5957691216057308 + 0.2140644488 * bounded * bounded);
}
`;

/** WGSL `gate(x)` and `slope(x)` on vec4f: gelu(x) = x gate(x), gelu'(x) = slope(x). */
export const geluWgsl = (approximate: GeluApproximation): string => (approximate === 'tanh' ? tanhWgsl : exactWgsl);

/** Bindings: x, y, all of n elements. */
export const geluForward = pointwise<GeluProblem>('gelu.forward', ({ n, approximate, f16 }) => ({
  name: `gelu.forward/${approximate}`,
  n,
  bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
  f16: f16 ? ['x', 'y'] : [],
  functions: geluWgsl(approximate),
  body: 'let value = x[i]; y[i] = value * gate(value);',
  flopsPerElement: approximate === 'tanh' ? 10 : 20,
}));

/** Bindings: x, dy, dx, all of n elements. */
export const geluBackward = pointwise<GeluProblem>('gelu.backward', ({ n, approximate, f16 }) => ({
  name: `gelu.backward/${approximate}`,
  n,
  bindings: [input('x', 'vec4f'), input('dy', 'vec4f'), output('dx', 'vec4f')],
  f16: f16 ? ['x', 'dy', 'dx'] : [],
  functions: geluWgsl(approximate),
  body: 'dx[i] = dy[i] * slope(x[i]);',
  flopsPerElement: approximate === 'tanh' ? 15 : 26,
}));
