import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import type { Engine, Tensor } from '../../engine/node.ts';
import { PhiloxStream, Purpose, uniform01 } from '../../kernels/lib/philox.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { halfTests, rounded } from '../support/f16.ts';
import { useEngineAs } from '../support/device-profiles.ts';

const SEED = 0xdecade01;
const engine = useEngine({ seed: SEED });

const stream = (purpose: Purpose, step: number, number: number) => new PhiloxStream(SEED, purpose, step, number);
const words = (source: PhiloxStream, n: number): number[] => Array.from({ length: n }, () => source.word());
/** What f32 arithmetic makes of x / (1 - rate) by a factor. */
const scaled = (x: number, rate: number): number => Math.fround(x * Math.fround(1 / (1 - rate)));

async function atStep<Result>(on: Engine, step: number, work: () => Promise<Result>): Promise<Result> {
  on.setStep(step);
  try {
    return await work();
  } finally {
    on.setStep(0);
  }
}

describe('dropout', () => {
  it.each([[1], [7], [3, 130]])('draws the words that the host draws, forward and backward (%j)', async (...shape) => {
    const x = uniform(
      shape.reduce((a, b) => a * b, 1),
      1,
    );
    const rate = 0.3;
    const { y, dy, gradients } = await atStep(engine(), 17, () =>
      differentiate(engine(), [{ shape, data: x }], (t) => ops.dropout(t, rate, 5)),
    );
    const kept = words(stream(Purpose.dropout, 17, 5), x.length).map((word) => uniform01(word) >= Math.fround(rate));
    expect(Array.from(y)).toEqual(kept.map((keep, i) => (keep ? scaled(x[i], rate) : 0)));
    expect(Array.from(gradients[0])).toEqual(kept.map((keep, i) => (keep ? scaled(dy[i], rate) : 0)));
  });

  it('is x itself at rate 0 and outside of training, and zero at rate 1', async () => {
    const x = engine().tensor([1, Infinity, 3]);
    expect(ops.dropout(x, 0, 1)).toBe(x);
    expect(ops.dropout(x, 0.5, 1, false)).toBe(x);
    expect(Array.from(await ops.dropout(x, 1, 1).read())).toEqual([0, 0, 0]);
    expect(() => ops.dropout(x, 1.5, 1)).toThrow(/bad-argument/);
  });

  it('keeps 1 - p of the elements, and the mean', async () => {
    const n = 200_000;
    const y = await ops.dropout(engine().full([n], 1), 0.25, 2).read();
    const kept = y.filter((value) => value !== 0).length;
    // Five standard deviations of a binomial count.
    expect(Math.abs(kept - 0.75 * n)).toBeLessThan(5 * Math.sqrt(n * 0.75 * 0.25));
  });

  it('draws anew for another stream and another step', async () => {
    const x = engine().full([64], 1);
    const masks = [await ops.dropout(x, 0.5, 1).read(), await ops.dropout(x, 0.5, 2).read()];
    masks.push(await atStep(engine(), 1, () => ops.dropout(x, 0.5, 1).read()));
    expect(new Set(masks.map(String)).size).toBe(3);
    expect(await ops.dropout(x, 0.5, 1).read()).toEqual(masks[0]);
  });

  it('refuses to run backward after the step was changed', () => {
    const x = engine().tensor([1, 2, 3, 4]).requiresGrad_();
    const y = ops.sum(ops.dropout(x, 0.5, 1));
    engine().setStep(3);
    expect(() => y.backward()).toThrow(/tape-modified/);
    engine().setStep(0);
  });
});

describe.each([
  { name: 'whole bindings', claims: {} },
  { name: 'small bindings', claims: { maxBindingSize: 8192 } },
])('masks, $name', ({ claims }) => {
  const device = useEngineAs(claims);
  const own = (purpose: Purpose, step: number, number: number) => new PhiloxStream(0, purpose, step, number);
  const withHalf = halfTests(device);

  it('dropout draws the same words for all parts of a tensor', async () => {
    const y = await ops.dropout(device().full([6001], 1), 0.5, 3).read();
    const kept = words(own(Purpose.dropout, 0, 3), 6001).map((word) => (uniform01(word) >= 0.5 ? 2 : 0));
    expect(Array.from(y)).toEqual(kept);
  });

  it.each([
    { shape: [9], rate: 0.5 },
    { shape: [11, 3, 12], rate: 0.2 },
    { shape: [128, 5, 3], rate: 0.7 },
    { shape: [6, 20, 40], rate: 0.5 },
  ])('drops whole samples of $shape by the words that the host draws', async ({ shape, rate }) => {
    const n = shape.reduce((a, b) => a * b, 1);
    const [x, residual] = [uniform(n, 1), uniform(n, 2)];
    const kept = words(own(Purpose.dropPath, 4, 7), shape[0]).map((word) => uniform01(word) >= Math.fround(rate));
    const sample = (i: number) => Math.floor((i * shape[0]) / n);
    const alone = await atStep(device(), 4, () =>
      differentiate(device(), [{ shape, data: x }], (t) => ops.dropPath(t, rate, 7)),
    );
    const expected = Array.from(x, (value, i) => (kept[sample(i)] ? scaled(value, rate) : 0));
    expect(Array.from(alone.y)).toEqual(expected);
    const gradient = Array.from(alone.dy, (value, i) => (kept[sample(i)] ? scaled(value, rate) : 0));
    expect(Array.from(alone.gradients[0])).toEqual(gradient);
    const fused = await atStep(device(), 4, () =>
      differentiate(
        device(),
        [
          { shape, data: residual },
          { shape, data: x },
        ],
        (r, t) => ops.dropPathAdd(r, t, rate, 7),
      ),
    );
    expectClose(
      fused.y,
      expected.map((value, i) => value + residual[i]),
      1e-7,
    );
    expect(Array.from(fused.gradients[0])).toEqual(Array.from(fused.dy));
    expect(Array.from(fused.gradients[1])).toEqual(gradient);
  });

  withHalf('adds an f16 branch to an f32 residual, and gives its gradient in f16', async () => {
    for (const shape of [
      [11, 3, 12],
      [16, 5, 3],
    ]) {
      const [n, rate] = [shape.reduce((a, b) => a * b, 1), 0.4];
      const [x, residual] = [rounded(uniform(n, 1)), uniform(n, 2)];
      const kept = words(own(Purpose.dropPath, 4, 7), shape[0]).map((word) => uniform01(word) >= Math.fround(rate));
      const sample = (i: number) => Math.floor((i * shape[0]) / n);
      const drop = (value: number, i: number) => (kept[sample(i)] ? scaled(value, rate) : 0);
      const operands = [residual, x].map((data) => ({ shape, data }));
      const found = await atStep(device(), 4, () =>
        differentiate(device(), operands, (r, t) =>
          ops.autocast(device(), () => ops.dropPathAdd(r, ops.to(t, 'f16'), rate, 7)),
        ),
      );
      // One f32 sum, which may be fused with the product before.
      expectClose(
        found.y,
        Array.from(x, (value, i) => drop(value, i) + residual[i]),
        1e-7,
      );
      expect(Array.from(found.gradients[0])).toEqual(Array.from(found.dy));
      expect(Array.from(found.gradients[1])).toEqual(Array.from(rounded(Array.from(found.dy, drop))));
    }
  });
});

describe('dropPath without effect', () => {
  it('is x itself, and with a residual the sum', async () => {
    const x = engine().tensor([1, 2, 3, 4], [2, 2]);
    expect(ops.dropPath(x, 0, 1)).toBe(x);
    expect(ops.dropPath(x, 0.5, 1, false)).toBe(x);
    expect(Array.from(await ops.dropPathAdd(x, x, 0.5, 1, false).read())).toEqual([2, 4, 6, 8]);
    expect(Array.from(await ops.dropPathAdd(x, x, 1, 1).read())).toEqual([1, 2, 3, 4]);
  });
});

describe('random fills', () => {
  const read = async (y: Tensor) => Array.from(await y.read());

  it('randomUniform is what the host draws', async () => {
    const found = await atStep(engine(), 9, () =>
      read(ops.randomUniform(engine(), [3, 7], { low: -2, high: 3, stream: 6, purpose: Purpose.augment })),
    );
    const source = stream(Purpose.augment, 9, 6);
    expectClose(
      found,
      found.map(() => source.uniform(-2, 3)),
      1e-6,
    );
    const unit = stream(Purpose.sample, 0, 0);
    // The unit interval takes no rounding at all.
    expect(await read(ops.randomUniform(engine(), [129]))).toEqual(Array.from({ length: 129 }, () => unit.uniform()));
  });

  it('randomNormal is what the host draws', async () => {
    const found = await atStep(engine(), 2, () =>
      read(ops.randomNormal(engine(), [10_001], { mean: 0.5, std: 2, stream: 1, purpose: Purpose.init })),
    );
    const source = stream(Purpose.init, 2, 1);
    const expected = found.map(() => source.normal(0.5, 2));
    expectClose(found, expected, 1e-6);
    // An f32 word next to 2^32 leaves 2^-25 of u, where -2 ln u is small: the worst element, absolutely.
    expect(Math.max(...found.map((value, i) => Math.abs(value - expected[i])))).toBeLessThan(2e-5);
  });
});
