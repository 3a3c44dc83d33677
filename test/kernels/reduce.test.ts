/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';
import { columnSum, reduce } from '../../kernels/reduce/index.ts';
import { reducePlain } from '../../kernels/reduce/plain.ts';
import { reduceReference } from '../../kernels/reduce/reference.ts';
import { REDUCE_CASES } from '../cases/reduce.ts';
import { indices, product, ravel } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();

/** The shape of the result with the reduced dimensions as 1. */
const keptShape = (shape: readonly number[], dims: readonly number[] | undefined): number[] =>
  shape.map((size, d) => (!dims || dims.includes(d) || dims.includes(d - shape.length) ? 1 : size));

describe.each(PROFILES)('reductions on $name', ({ claims, variant }) => {
  const device = useEngineAs(claims, variant);

  it.each(REDUCE_CASES)('$shape over $dims', async ({ shape, dims }) => {
    const x = uniform(product(shape), 1);
    const kept = keptShape(shape, dims);
    const results = product(kept);
    const count = x.length / results;
    const sums = new Float64Array(results);
    const maxima = new Float64Array(results).fill(-Infinity);
    const at: number[] = [];
    for (const index of indices(shape)) {
      const r = ravel(index, kept);
      sums[r] += x[at.length];
      maxima[r] = Math.max(maxima[r], x[at.length]);
      at.push(r);
    }
    const operands = [{ shape, data: x }];
    const total = await differentiate(device(), operands, (t) => ops.sum(t, dims));
    expect(total.shape).toEqual(
      dims ? shape.filter((_, d) => !(dims.includes(d) || dims.includes(d - shape.length))) : [],
    );
    // Terms of size up to 1 cancel: f32's 6e-8 a term that is added, against a sum of about sqrt(count).
    expectClose(total.y, sums, 1e-6 * Math.sqrt(count), 'sum');
    expectClose(
      total.gradients[0],
      at.map((r) => total.dy[r]),
      0,
      'gradient of sum',
    );
    const mean = await differentiate(device(), operands, (t) => ops.mean(t, dims, true));
    expect(mean.shape).toEqual(kept);
    expectClose(
      mean.y,
      sums.map((s) => s / count),
      1e-6 * Math.sqrt(count),
      'mean',
    );
    expectClose(
      mean.gradients[0],
      at.map((r) => mean.dy[r] / count),
      1e-7,
      'gradient of mean',
    );
    const max = await differentiate(device(), operands, (t) => ops.amax(t, dims));
    expect(Array.from(max.y)).toEqual(Array.from(maxima));
    expectClose(
      max.gradients[0],
      at.map((r, i) => (x[i] === maxima[r] ? max.dy[r] : 0)),
      0,
      'gradient of amax',
    );
  });

  it('a sum of many equal numbers does not drift', async () => {
    // 300,000 times the f32 number next to 0.1, summed one by one in f32, would be off by 1e-3 relatively.
    const n = 300_000;
    const x = device().full([n], 0.1);
    expectClose([await ops.sum(x).item()], [n * Math.fround(0.1)], 1e-6);
  });

  it.each(['sum', 'amax'] as const)(
    '%s of the middle dimension, and its gradient, are those of the reference',
    async (op) => {
      for (const [outer, width, inner] of [
        [1, 1, 1],
        [3, 700, 1],
        [5, 33, 7],
        [2, 64, 12],
      ]) {
        // Of few values, so that there are ties.
        const x = uniform(outer * width * inner, 4, 8).map(Math.round);
        const operands = [{ shape: [outer, width, inner], data: x }];
        const found = await differentiate(device(), operands, (t) => ops[op](t, 1));
        const expected = reduceReference({ op, outer, reduce: width, inner }, x, found.dy);
        // Sums of small integers are exact; a gradient that ties share is one division.
        expect(Array.from(found.y)).toEqual(Array.from(expected.y));
        expectClose(found.gradients[0], expected.dx, 1e-7);
      }
    },
  );

  it('amax lets NaN win, and knows infinities', async () => {
    const x = Float32Array.from({ length: 3 * 40 }, (_, i) =>
      i < 40 ? -Infinity : i === 55 ? NaN : i === 90 ? Infinity : i,
    );
    expect(Array.from(await ops.amax(device().tensor(x, [3, 40]), 1).read())).toEqual([-Infinity, NaN, Infinity]);
    expect(Array.from(await ops.amax(device().tensor(x, [40, 3]), 0).read())).toEqual(
      [0, 1, 2].map((c) => [...x].filter((_, i) => i % 3 === c).reduce((a, b) => (b > a || Number.isNaN(b) ? b : a))),
    );
  });
});

describe.each(reduce.variants)('reduction, variant %s', (variant) => {
  it.each([
    { outer: 3, reduce: 700, inner: 1 },
    { outer: 1, reduce: 20_000, inner: 1 },
    { outer: 5, reduce: 33, inner: 7 },
    { outer: 1, reduce: 6000, inner: 12 },
  ])('$outer x $reduce x $inner, where it fits', async (sizes) => {
    const { outer, reduce: width, inner } = sizes;
    // Small integers: their sums are exact.
    const x = uniform(outer * width * inner, 4, 8).map(Math.round);
    for (const op of ['sum', 'amax'] as const) {
      const problem = { op, ...sizes };
      if (!reduce.has(variant, problem, engine().profile)) continue;
      const operands = { x: engine().tensor(x) };
      const y = await resultOf(engine(), reduce, { ...problem, variant }, operands, outer * inner);
      expect(y, op).toEqual(Array.from(reduceReference(problem, x, new Float64Array(outer * inner)).y));
    }
  });
});

describe('details of reductions', () => {
  it('amax takes a NaN with the sign bit set for a NaN', async () => {
    const x = new Float32Array(new Uint32Array([0x3f800000, 0xffc00000, 0x40000000, 0xff800000]).buffer);
    expect(await ops.amax(engine().tensor(x)).item()).toBeNaN();
  });

  it('launches over parts of large bindings stay within them, at aligned offsets', () => {
    const device = { ...engine().profile, maxBindingSize: 65536 };
    for (const problem of [
      { rows: 1001, columns: 96 },
      { rows: 100_001, columns: 1 },
      { rows: 777, columns: 35 },
    ]) {
      const launches = columnSum(problem, device).filter(({ ranges }) => ranges.x);
      const bytes = Math.ceil((problem.rows * problem.columns * 4) / 16) * 16;
      let end = 0;
      for (const { ranges } of launches) {
        expect(ranges.x.offset).toBe(end);
        expect(ranges.x.offset % 256).toBe(0);
        expect(ranges.x.size).toBeLessThanOrEqual(device.maxBindingSize);
        end += ranges.x.size;
      }
      expect(end).toBe(bytes);
    }
  });

  it('amax divides the gradient among ties', async () => {
    const data = [1, 2, 2, 0, 3, 3, 3, 3];
    const { gradients } = await differentiate(
      engine(),
      [{ shape: [2, 4], data }],
      (x) => ops.amax(x, 1),
      Float32Array.of(6, 8),
    );
    expect(Array.from(gradients[0])).toEqual([0, 3, 3, 0, 2, 2, 2, 2]);
  });

  it('columnSum of bias gradients is the sum of the columns, the same every time', async () => {
    const problem = { rows: 1576, columns: 192 };
    const x = uniform(problem.rows * problem.columns, 8);
    const expected = new Float64Array(problem.columns);
    x.forEach((value, i) => (expected[i % problem.columns] += value));
    const run = async () => {
      const y = engine().empty([problem.columns]);
      engine().run('test', columnSum, problem, { x: engine().tensor(x), y });
      return Array.from(await y.read());
    };
    const first = await run();
    expectClose(first, expected, 1e-6);
    expect(await run()).toEqual(first);
  });

  it('wrong dimensions, dtypes and empty tensors are errors', () => {
    const x = engine().zeros([2, 3]);
    expect(() => ops.sum(x, 2)).toThrow(/bad-argument/);
    expect(() => ops.sum(x, [0, -2])).toThrow(/bad-argument/);
    expect(() => ops.mean(engine().empty([0, 3]))).toThrow(/shape-mismatch/);
    expect(() => ops.amax(engine().tensor([1], [1], 'i32'))).toThrow(/dtype-mismatch/);
  });
});

it.each([
  { f16: false, bytes: 4 },
  { f16: true, bytes: 2 },
])('a reduction reads every element and writes every result once, and counts that (f16: $f16)', ({ f16, bytes }) => {
  const [{ cost }] = reducePlain({ op: 'sum', outer: 3, reduce: 5, inner: 7, f16 }, deviceProfiles.gpu);
  expect(cost.bytes).toBe(bytes * 3 * 5 * 7 + 4 * 3 * 7);
  const [rows] = reduce({ op: 'sum', outer: 3, reduce: 512, inner: 1, f16 }, deviceProfiles.gpu);
  expect(rows.name).toMatch(/^sum.reduce\/(subgroup|workgroup)/);
  expect(rows.cost.bytes).toBe(bytes * 3 * 512 + 4 * 3);
  const [columns] = reduce({ op: 'sum', outer: 1, reduce: 16, inner: 65_536, f16 }, deviceProfiles.gpu);
  expect(columns.name).toMatch(/^sum.reduce\/columns/);
  expect(columns.cost.bytes).toBe((bytes * 16 + 4) * 65_536);
});
