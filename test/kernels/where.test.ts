import { describe, expect, it } from 'vitest';
import { where, whereGradient } from '../../kernels/where/index.ts';
import { whereReference } from '../../kernels/where/reference.ts';
import { indices, product, ravel } from '../support/arrays.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();
const SHAPE = [3, 5, 8];

describe.each(where.variants)('where, variant %s', (variant) => {
  it.each([
    { condition: [3, 5, 8], a: [3, 5, 8], b: [3, 5, 8] },
    { condition: [5, 1], a: [8], b: [] },
    { condition: [], a: [3, 1, 1], b: [5, 8] },
  ])('condition $condition, a $a, b $b', async (shapes) => {
    const gpu = engine();
    // Zeros of both signs, NaN and the smallest number among the conditions.
    const conditions = [0, -0, NaN, 1e-45, 1, -2];
    const given = {
      condition: Array.from({ length: product(shapes.condition) }, (_, i) => conditions[(5 * i + 2) % 6]),
      a: uniform(product(shapes.a), 1),
      b: uniform(product(shapes.b), 2),
    };
    const dy = uniform(product(SHAPE), 3);
    const full = (name: keyof typeof given): number[] =>
      Array.from(indices(SHAPE), (index) => given[name][ravel(index, shapes[name])]);
    const expected = whereReference(full('condition'), full('a'), full('b'), dy);
    const [condition_data, a_data, b_data, dy_data] = [given.condition, given.a, given.b, dy].map((x) => gpu.tensor(x));
    const problem = { shape: SHAPE, condition: { shape: shapes.condition }, variant };
    const y_data = gpu.empty(SHAPE);
    const operands = { condition_data, a_data, b_data, y_data };
    gpu.run('test', where, { ...problem, a: { shape: shapes.a }, b: { shape: shapes.b } }, operands);
    expect(Array.from(await y_data.read())).toEqual(expected.y);
    for (const side of [0, 1] as const) {
      const gradient = gpu.empty(SHAPE);
      gpu.run('test', whereGradient, { ...problem, side }, { condition_data, dy_data, y_data: gradient });
      expect(Array.from(await gradient.read())).toEqual(side === 0 ? expected.da : expected.db);
    }
  });
});

it('is refused without elements', async () => {
  const empty = { shape: [0, 8], condition: { shape: [8] }, a: { shape: [8] }, b: { shape: [8] } };
  await expect(resultOf(engine(), where, empty, {}, 1)).rejects.toThrow(/at least one element/);
});
