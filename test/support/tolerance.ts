/**
 * How far an operator in f32 may stray from PyTorch's float64 result. One formula for all:
 *
 *     norm of the error  <=  3 (u sqrt(n) |reference| + noise) + 2 u ulps |reference| + 2 u cancelling
 *
 * - u = 2^-24, the rounding of one f32 operation.
 * - n is the number of terms that are summed for one element of the result. Roundings of either sign add up as sqrt(n).
 * - ulps is what the functions used are allowed to be off: kernels/lib/math.ts states it for exp, log, tanh, pow and erf, the
 *   WGSL specification for division (2.5), square root (2.5 more than inverseSqrt's 2) and its own exp (3 + 2 |x|, where
 *   |x| is about ln(n) for those elements of a softmax over n that have weight). One ulp is at most 2 u.
 * - noise is the norm of the error of PyTorch's own f32 result. It knows the condition of the case: what a large
 *   offset or a cancellation in the middle makes of rounding.
 * - cancelling is for functions that subtract numbers near each other, as sigmoid' = y (1 - y) does: the norm of the
 *   upstream gradient (of the largest input, for an output), because the true value may be zero.
 * - 3 because either side is one draw of rounding errors, and the two add up.
 *
 * A single element may be off by its share of that. In a map from element to element the share is in proportion to the
 * element. Where elements are sums of terms, a small one is the difference of larger ones: its share is that of the root
 * mean square, if it is smaller. Times 4 there, the standard deviations that the largest of a thousand draws lies out.
 */
import { formatShape } from '../../engine/index.ts';
import { declarations } from './declarations.ts';
import type { OpResult } from './golden-ops.ts';

export const UNIT = 2 ** -24;

const size = ({ length }: ArrayLike<number>): number => length;
const norm = (values: ArrayLike<number>): number => Math.hypot(...Array.from(values));

/** Which input's gradient a result is, or -1. */
const gradientOf = ({ what }: OpResult): number => (what.startsWith('gradient ') ? Number(what.slice(9)) : -1);

/** Elements of input number i; 0 where it is absent. */
const inputSize = ({ inputs }: OpResult, i: number): number => inputs[i]?.values.length ?? 0;

interface Rule {
  /** Terms that are summed for one element of the result. */
  readonly terms: (result: OpResult) => number;
  /** Ulp that the functions used may be off, of output and gradients. */
  readonly ulps: (terms: number) => number;
  /** Whether the output, and the gradients, subtract numbers near each other. */
  readonly cancels: readonly [boolean, boolean];
  /** Whether an element depends on one element of each operand. */
  readonly pointwise: boolean;
}

/** Reductions sum what they shrink, and broadcast operands gather their gradient over what they were expanded to. */
const shrinking: Rule['terms'] = (result) => {
  const gradient = gradientOf(result);
  if (gradient >= 0) return size(result.upstream.values) / inputSize(result, gradient);
  const inputs = Math.max(...result.inputs.map((_, i) => inputSize(result, i)));
  return inputs / size(result.expected.values);
};

/** At most all elements of an operand. */
const allElements: Rule['terms'] = (result) => Math.max(...result.inputs.map((_, i) => inputSize(result, i)));

/** Sums of products: `inner` for each element of y; every gradient takes part in all of them. The bias (2) is added once. */
const products =
  (inner: (result: OpResult) => number): Rule['terms'] =>
  (result) => {
    const gradient = gradientOf(result);
    const k = inner(result);
    if (gradient < 0) return k;
    return (size(result.upstream.values) * (gradient === 2 ? 1 : k)) / inputSize(result, gradient);
  };
const perFilter = products(({ inputs: [, weight] }) => size(weight!.values) / weight!.shape[0]);

const map = (ulps: number, cancels: Rule['cancels'] = [false, false]): Rule => ({
  terms: shrinking,
  ulps: () => ulps,
  cancels,
  pointwise: true,
});
const sums = (terms: Rule['terms'], ulps: Rule['ulps'] = () => 0): Rule => ({
  terms,
  ulps,
  cancels: [false, false],
  pointwise: false,
});
const DIVISION = 2.5;
/** Built-in exp of the elements that have weight in a softmax over n, and the division by their sum. */
const softmaxUlps = (n: number): number => 3 + 2 * Math.log(n) + DIVISION;
const softmaxOver = (terms: Rule['terms']): Rule => ({
  terms,
  ulps: softmaxUlps,
  cancels: [true, true],
  pointwise: false,
});
const row = ({ case: { attrs }, expected: { shape } }: OpResult): number => shape.at(attrs.dim) ?? 1;
const allLogits = ({ inputs: [logits] }: OpResult): number => size(logits!.values);

const layerNorm: Rule = {
  terms: (result) => Math.max(result.inputs[0]!.shape.at(-1) ?? 1, shrinking(result)),
  ulps: () => 4.5 + DIVISION,
  cancels: [true, true],
  pointwise: false,
};
/** erf, or the built-in exp (3 + 2 |x|) of an argument that is small where the result is not a constant. */
const GELU = 3 + 2 * 2;

/** Those of operators that are not declared in test/cases/operators. */
const rules: Readonly<Record<string, Rule | undefined>> = {
  add: map(0),
  sub: map(0),
  mul: map(0),
  div: map(2 * DIVISION),
  maximum: map(0),
  minimum: map(0),
  // pow and, in the exponent's gradient, log, whose sign changes.
  pow: map(6, [false, true]),
  gelu: map(GELU, [true, true]),
  matmul: sums(products(({ case: { attrs }, inputs: [a] }) => a!.shape.at(attrs.transposeA ? -2 : -1)!)),
  linear: sums(perFilter),
  conv2d: sums(perFilter),
  patchEmbed: sums(perFilter),
  globalAvgPool: sums(shrinking, () => DIVISION),
  sum: sums(shrinking),
  mean: sums(shrinking, () => DIVISION),
  amax: sums(shrinking, () => DIVISION),
  permute: map(0),
  transpose: map(0),
  reshape: map(0),
  expand: map(0),
  slice: map(0),
  cat: map(0),
  pad: map(0),
  softmax: softmaxOver(row),
  logSoftmax: softmaxOver(row),
  layerNorm,
  batchNorm: {
    terms: ({ inputs: [x, weight] }) => size(x!.values) / size(weight!.values),
    ulps: () => 4.5 + DIVISION,
    cancels: [true, true],
    pointwise: false,
  },
  crossEntropy: softmaxOver(allLogits),
  softTargetCrossEntropy: softmaxOver(allLogits),
  klDistillation: softmaxOver(allLogits),
  distilledCrossEntropy: softmaxOver(allLogits),
  // Products over the channels of a head, then over the tokens.
  scaledDotProductAttention: softmaxOver(
    ({ case: { attrs }, inputs: [qkv] }) => qkv!.shape[1] + qkv!.shape[2] / (3 * attrs.heads),
  ),
  flip: map(0),
  indexSelect: map(0),
  linearAdd: sums(perFilter),
  // The larger of both sums of products.
  mlp: {
    terms: (result) => Math.max(result.inputs[1]!.shape[0], perFilter(result)),
    ulps: () => GELU,
    cancels: [true, true],
    pointwise: false,
  },
  assembleTokens: map(0),
  scaleChannels: { ...map(0), pointwise: false },
  // At most all elements are summed; the functions are those above.
  chain: softmaxOver((result) => allElements(result)),
};

/** The rule that an operator's declaration asks for. */
function declaredRule(op: string): Rule {
  const { ulps, cancels = [false, false], terms } = declarations.get(op)!.tolerance;
  if (terms === undefined) return map(ulps, cancels);
  const count = terms === 'shrinking' ? shrinking : terms === 'filter' ? perFilter : allElements;
  return { terms: count, ulps: () => ulps, cancels, pointwise: false };
}

/** What a result is off, and what it may be. */
export interface Verdict {
  /** ||found - expected|| / ||expected||, and what the tolerance allows of it. Infinite where the truth is zero. */
  readonly relative: number;
  readonly allowed: number;
  /** The relative error of PyTorch's own f32 result. */
  readonly noise: number;
  /** Error in units of the tolerance: of all elements together, and of the worst one. Above 1 is wrong. */
  readonly whole: number;
  readonly element: number;
  /** Position of the worst element. */
  readonly at: number;
}

/** Compares a result with its reference. A non-finite value, which no reference has, is infinitely wrong. */
export function judge(result: OpResult): Verdict {
  const { found, expected, noise, upstream, inputs } = result;
  const { values } = expected;
  const rule = rules[result.case.op] ?? declaredRule(result.case.op);
  const terms = Math.max(1, rule.terms(result));
  const reference = norm(values);
  const rounding = 3 * UNIT * Math.sqrt(terms) + 2 * UNIT * rule.ulps(terms);
  const gradient = gradientOf(result) >= 0;
  const sources = gradient ? [upstream] : inputs.filter((input) => input !== null);
  const cancelling = rule.cancels[gradient ? 1 : 0] ? Math.max(...sources.map((source) => norm(source.values))) : 0;
  const bound = rounding * reference + 3 * noise + 2 * UNIT * cancelling;
  const share = (value: number): number => (reference > 0 ? value / reference : 0);
  const typical = 1 / Math.sqrt(Math.max(1, values.length));
  // The element of a map has a source of its own.
  const own = rule.pointwise && sources[0].values.length === values.length ? sources[0].values : null;
  const elementBound = (i: number): number => {
    const value = Math.abs(values[i]);
    if (!own) return 4 * bound * Math.max(share(value), typical);
    return rounding * value + 3 * noise * share(value) + (cancelling > 0 ? 2 * UNIT * Math.abs(own[i]) : 0);
  };
  const errors = Array.from(values, (value, i) => Math.abs(found[i] - value)).map((e) =>
    Number.isFinite(e) ? e : Infinity,
  );
  const units = errors.map((error, i) => (error === 0 ? 0 : error / elementBound(i)));
  const at = units.reduce((worst, unit, i) => (unit > units[worst] ? i : worst), 0);
  const inUnitsOf = (scale: number): number => (error === 0 ? 0 : error / scale);
  const error = norm(errors);
  return {
    relative: inUnitsOf(reference),
    // Where nothing may be off, that is exactness, whatever the reference.
    allowed: bound === 0 ? 0 : bound / reference,
    noise: noise === 0 ? 0 : noise / reference,
    whole: inUnitsOf(bound),
    element: units[at] ?? 0,
    at,
  };
}

/** What is wrong with a result, in a line that names it; nothing where all is well. */
export function describeWrong(result: OpResult): string[] {
  const { found, foundShape, expected } = result;
  const where = `${result.case.op}, ${result.case.name}, ${result.what}`;
  if (foundShape.join() !== expected.shape.join())
    return [`${where}: shape ${formatShape(foundShape)}, not ${formatShape(expected.shape)}`];
  const { whole, element, relative, at } = judge(result);
  if (whole <= 1 && element <= 1) return [];
  const worst = `element ${at} is ${found[at]}, not ${expected.values[at]}`;
  return [`${where}: ${whole} of the tolerance (relative error ${relative}); ${element} in one: ${worst}`];
}
