/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { attentionProbabilities, scaledDotProductAttention } from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import type { AttentionProblem } from '../../kernels/attention/index.ts';
import { attentionForward, attentionKeyValueGradient, attentionQueryGradient } from '../../kernels/attention/index.ts';
import { ATTENTION_CASES } from '../cases/attention.ts';
import type { AttentionCase } from '../cases/attention.ts';
import { attentionReference } from '../../kernels/attention/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

const data = ({ batch, tokens, heads, width, scale = 1 }: AttentionCase) => ({
  qkv: uniform(batch * tokens * 3 * heads * width, 1, scale),
  g: uniform(batch * tokens * heads * width, 2),
});

/**
 * Scores are sums of d products: their rounding, some 2^-24 of the largest, is the relative error of exp(s), so it
 * grows with the scores; 16 roundings of that, and as many of the sums over tokens.
 */
const tolerance = ({ width, scale = 1 }: AttentionCase): number =>
  2 ** -24 * 16 * (1 + scale * scale * Math.sqrt(width));

const nameOf = ({ batch, tokens, heads, width, scale = 1 }: AttentionCase): string =>
  `${batch} x ${tokens} tokens, ${heads} heads of ${width}, scale ${scale}`;

/** A software adapter takes long to compile wide heads in the GPUs' variant; one such case must do there. */
const isQuick = ({ tokens, width }: AttentionCase): boolean => width <= 32 || tokens === 66;

/** Heads of an even number of vectors of four, or of elements where they are no whole vectors. */
const isPaired = (width: number): boolean => width % 8 === 0 || (width % 2 === 0 && width % 4 !== 0);

const VARIANTS = ['subgroup', 'subgroup_2', 'workgroup', 'workgroup_pairs', 'plain'] as const;

/** Forward and gradients by the kernels themselves, for gradient `g` of y. */
function run(problem: AttentionProblem & { variant: string }, x: Tensor, g: Float32Array) {
  const { batch, tokens, heads, width } = problem;
  const dy = engine().tensor(g, [batch, tokens, heads * width]);
  const y = engine().empty([batch, tokens, heads * width]);
  const stats = engine().empty([batch, heads, tokens, 2]);
  const delta = engine().empty([batch, heads, tokens]);
  // Every element must be written, whatever was there.
  const dqkv = engine().full([batch, tokens, 3 * heads * width], NaN);
  engine().run('attention', attentionForward, problem, { qkv: x, y, stats });
  engine().run('attention', attentionQueryGradient, problem, { qkv: x, y, dy, stats, dqkv, delta });
  engine().run('attention', attentionKeyValueGradient, problem, { qkv: x, dy, stats, delta, dqkv });
  return { y, dqkv };
}

describe.each(VARIANTS)('attention, variant %s', (variant) => {
  const isAble = ({ width }: AttentionCase): boolean => variant !== 'workgroup_pairs' || isPaired(width);
  const cases = ATTENTION_CASES.filter((problem) => variant === 'subgroup' || isQuick(problem)).filter(isAble);
  it.each(cases.map((problem) => ({ name: nameOf(problem), problem })))('$name', async ({ problem }) => {
    const { batch, tokens, heads, width } = problem;
    const { qkv, g } = data(problem);
    const x = engine().tensor(qkv, [batch, tokens, 3 * heads * width]);
    const { y, dqkv } = run({ batch, tokens, heads, width, variant }, x, g);
    const expected = attentionReference(problem, qkv, g);
    expectClose(await y.read(), expected.y, tolerance(problem), 'y');
    expectClose(await dqkv.read(), expected.dqkv, 4 * tolerance(problem), 'dqkv');
  });
});

describe.each(VARIANTS)('where one token has all the attention, variant %s', (variant) => {
  it('results are its value, and no gradient reaches queries and keys', async () => {
    // Query i is 100 times a unit vector, and so is key i: all scores but one are 0, that is 3,535.
    const [batch, tokens, heads, width] = [2, 8, 3, 8];
    const [values, g] = [2, 3].map((seed) => uniform(batch * tokens * heads * width, seed));
    const ones = (at: number): number => 100 * Number(Math.floor(at / heads / width) % tokens === at % width);
    const rowOf = (data: (at: number) => number, row: number): number[] =>
      Array.from({ length: heads * width }, (_, e) => data(row * heads * width + e));
    const rows = Array.from({ length: batch * tokens }, (_, row) => row);
    const joined = (...parts: ((at: number) => number)[]): number[] =>
      rows.flatMap((row) => parts.flatMap((part) => rowOf(part, row)));
    const qkv = joined(ones, ones, (at) => values[at]);
    const x = engine().tensor(qkv, [batch, tokens, 3 * heads * width]);
    const { y, dqkv } = run({ batch, tokens, heads, width, variant }, x, g);
    expect(await y.read()).toEqual(values);
    const zero = (): number => 0;
    const found = [...(await dqkv.read())].map((value) => value + 0);
    expect(found).toEqual(joined(zero, zero, (at) => g[at]));
  });
});

describe('scaledDotProductAttention', () => {
  const problem = { batch: 2, tokens: 19, heads: 3, width: 8 };
  const shape = [2, 19, 72];

  it('differentiates', async () => {
    const { qkv, g } = data(problem);
    const x = engine().tensor(qkv, shape).requiresGrad_();
    const y = scaledDotProductAttention(x, 3);
    y.backward(engine().tensor(g, [2, 19, 24]));
    const expected = attentionReference(problem, qkv, g);
    expectClose(await y.read(), expected.y, tolerance(problem));
    expectClose(await x.grad!.read(), expected.dqkv, 4 * tolerance(problem));
  });

  it('applies the weights that attentionProbabilities shows', async () => {
    const { qkv, g } = data(problem);
    const weights = attentionProbabilities(engine().tensor(qkv, shape), 3);
    expect(weights.shape).toEqual([2, 3, 19, 19]);
    expectClose(await weights.read(), attentionReference(problem, qkv, g).probabilities, tolerance(problem));
  });

  it('says what the fused projection looks like', () => {
    const x = engine().zeros([2, 5, 24]);
    expect(() => scaledDotProductAttention(x, 5)).toThrow(/shape-mismatch[\s\S]*3 x 5 x head width/);
    expect(() => attentionProbabilities(engine().zeros([5, 24]), 2)).toThrow(/shape-mismatch/);
  });
});
