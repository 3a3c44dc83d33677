import { elementwise } from './elementwise.ts';
import { input, output } from './kernel.ts';
import type { Kernel } from './kernel.ts';
import { erfWgsl } from './math.ts';

/*
 * Gaussian error linear unit (Hendrycks and Gimpel, 2016), elementwise. Phi and phi are the normal distribution's
 * cumulative function and density:
 *
 *     none:  y = x Phi(x),                 dx = dy (Phi(x) + x phi(x))
 *     tanh:  y = x sigmoid(2 u),           dx = dy (s + x s (1 - s) 2 u'),  s = sigmoid(2 u)
 *            u = sqrt(2 / pi) (x + 0.044715 x^3)
 *
 * The tanh form is PyTorch's 0.5 x (1 + tanh(u)) written without the cancellation, and without a built-in that is allowed
 * to be off by hundreds of units in the last place. Backward needs x. Gradients are written.
 */

export type GeluApproximation = 'none' | 'tanh';

export interface GeluProblem {
  readonly n: number;
  readonly approximate: GeluApproximation;
}

/** `phi_cumulative(x)`: the normal distribution's cumulative function. Other kernels fuse GELU with these snippets. */
const exactWgsl = /* wgsl */ `
${erfWgsl}
fn gate(x: vec4f) -> vec4f {
  return 0.5 + 0.5 * erf4(x * 0.70710678118654752);
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
export const geluForward: Kernel<GeluProblem> = ({ n, approximate }, device) =>
  elementwise(
    {
      name: `gelu.forward/${approximate}`,
      n,
      bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
      functions: geluWgsl(approximate),
      body: 'let value = x[i]; y[i] = value * gate(value);',
      flopsPerElement: approximate === 'tanh' ? 10 : 20,
    },
    device,
  );

/** Bindings: x, dy, dx, all of n elements. */
export const geluBackward: Kernel<GeluProblem> = ({ n, approximate }, device) =>
  elementwise(
    {
      name: `gelu.backward/${approximate}`,
      n,
      bindings: [input('x', 'vec4f'), input('dy', 'vec4f'), output('dx', 'vec4f')],
      functions: geluWgsl(approximate),
      body: 'dx[i] = dy[i] * slope(x[i]);',
      flopsPerElement: approximate === 'tanh' ? 15 : 26,
    },
    device,
  );
