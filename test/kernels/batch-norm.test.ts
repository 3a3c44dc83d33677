/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { autocast, to } from '../../engine/node.ts';
import { batchNorm } from '../../engine/ops/batch-norm.ts';
import { batchNormReference } from '../../kernels/batch-norm/reference.ts';
import { BatchNorm2d, trackBatches } from '../../nn/index.ts';
import { casesFor } from '../cases/channels.ts';
import type { ChannelCase } from '../cases/channels.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { HALF_UNIT, f16Tests, forProduct, rounded } from '../support/f16.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

interface Mode {
  readonly training: boolean;
  readonly relu: boolean;
}
const MODES: readonly Mode[] = [
  { training: true, relu: false },
  { training: true, relu: true },
  { training: false, relu: false },
  { training: false, relu: true },
];
const EPS = 1e-5;

/** Roundings of 6e-8, in sums of a few thousand numbers; values far from their zero lose what their mean has more digits. */
const tolerance = ({ offset = 0 }: ChannelCase): number => 3e-6 + offset * 6e-8;

interface Given {
  readonly shape: readonly number[];
  readonly x: Float32Array;
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly runningMean: Float32Array;
  readonly runningVar: Float32Array;
}

function given({ shape, offset = 0, scale = 1 }: ChannelCase): Given {
  const channels = shape[1];
  return {
    shape,
    x: uniform(product(shape), 1, scale).map((value) => value + offset),
    weight: uniform(channels, 2),
    bias: uniform(channels, 3, 0.5),
    runningMean: uniform(channels, 4).map((value) => value * scale + offset),
    runningVar: uniform(channels, 5).map((value) => (1.5 + value) * scale * scale),
  };
}

/** What the reference gives. */
const expectedOf = ({ shape, ...operands }: Given, mode: Mode, dy: ArrayLike<number>) =>
  batchNormReference(
    { batch: shape[0], channels: shape[1], plane: product(shape.slice(2)), eps: EPS, ...mode },
    { ...operands, dy },
  );

describe.each(PROFILES)('batchNorm on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);

  it.each(casesFor(claims.maxBindingSize))('$name', async (c) => {
    for (const mode of MODES) {
      const g = given(c);
      const channels = [c.shape[1]];
      const running = [engine().tensor(g.runningMean), engine().tensor(g.runningVar)] as const;
      const operands = [
        { shape: c.shape, data: g.x },
        { shape: channels, data: g.weight },
        { shape: channels, data: g.bias },
      ];
      const found = await differentiate(engine(), operands, (x, weight, bias) =>
        batchNorm(x, weight, bias, ...running, { ...mode, momentum: 0.3, eps: EPS }),
      );
      const expected = expectedOf(g, mode, found.dy);
      const what = JSON.stringify(mode);
      expect(found.shape).toEqual(c.shape);
      expectClose(found.y, expected.y, tolerance(c), `y ${what}`);
      // Two values a channel: dx is what is left of a cancellation, and shrinks to nothing.
      if (product(c.shape) > 2) expectClose(found.gradients[0], expected.dx, 4 * tolerance(c), `dx ${what}`);
      expectClose(found.gradients[1], expected.dweight, 4 * tolerance(c), `dweight ${what}`);
      expectClose(found.gradients[2], expected.dbias, tolerance(c), `dbias ${what}`);
      const moved = (before: Float32Array, batch: Float64Array): number[] =>
        [...before].map((value, i) => (mode.training ? 0.7 * value + 0.3 * batch[i] : value));
      expectClose(await running[0].read(), moved(g.runningMean, expected.mean), 1e-6, `running mean ${what}`);
      expectClose(await running[1].read(), moved(g.runningVar, expected.unbiased), 1e-6, `running variance ${what}`);
    }
  });

  // x and dy are exact in f16 and the arithmetic is that of f32; y, if a product takes it, and dx, which has the dtype of x, are
  // one rounding away.
  const withF16 = f16Tests(engine);
  for (const c of casesFor(claims.maxBindingSize)) {
    // Numbers far from zero are not told apart in f16, and large ones are infinite.
    if (c.offset || (c.scale ?? 1) > 65504) continue;
    withF16(`${c.name}, in f16 under autocast`, async () => {
      for (const [dtype, mode] of (['f32', 'f16'] as const).flatMap((type) =>
        MODES.map((own) => [type, own] as const),
      )) {
        const g = { ...given(c), x: rounded(given(c).x) };
        const running = [engine().tensor(g.runningMean), engine().tensor(g.runningVar)] as const;
        const operands = [
          { shape: c.shape, data: g.x },
          { shape: [c.shape[1]], data: g.weight },
          { shape: [c.shape[1]], data: g.bias },
        ];
        const found = await differentiate(engine(), operands, (x, weight, bias) => {
          const options = { ...mode, eps: EPS };
          const y = autocast(engine(), () => {
            const result = batchNorm(to(x, 'f16'), weight, bias, ...running, options);
            return dtype === 'f16' ? forProduct(result) : result;
          });
          expect(y.dtype).toBe(dtype);
          return to(y, 'f32');
        });
        const expected = expectedOf(g, mode, dtype === 'f16' ? rounded(found.dy) : found.dy);
        const what = `${dtype}, ${JSON.stringify(mode)}`;
        expectClose(found.y, expected.y, tolerance(c) + (dtype === 'f16' ? HALF_UNIT : 0), `y ${what}`);
        if (product(c.shape) > 2) {
          expectClose(found.gradients[0], expected.dx, HALF_UNIT + 4 * tolerance(c), `dx ${what}`);
        }
        expectClose(found.gradients[1], expected.dweight, 4 * tolerance(c), `dweight ${what}`);
        expectClose(found.gradients[2], expected.dbias, tolerance(c), `dbias ${what}`);
      }
    });
  }
});

describe('batchNorm', () => {
  const engine = useEngineAs({});
  const full = (value: number, n = 3) => engine().full([n], value);

  it('moves the running statistics at every replay', async () => {
    const x = engine().tensor(uniform(2 * 3 * 4, 1), [2, 3, 2, 2]);
    const mean = full(0).keep();
    const variance = full(1).keep();
    const options = { training: true, momentum: 0.5 };
    const recording = engine().record(() => void batchNorm(x, full(1), full(0), mean, variance, options));
    const once = await mean.read();
    engine().replay(recording);
    // m/2, then m/2 + m/4
    expectClose(
      await mean.read(),
      [...once].map((value) => 1.5 * value),
      1e-6,
    );
    recording.release();
  });

  it('gives no statistics, but the gradient of a constant, in a frozen evaluation layer', async () => {
    const x = engine().tensor([1, 2, 3], [1, 3]).requiresGrad_();
    const y = batchNorm(x, full(2), full(1), full(1), full(4), { training: false, eps: 0 });
    y.backward(engine().full([1, 3], 1));
    expectClose(await y.read(), [1, 2, 3], 1e-6);
    expectClose(await x.grad!.read(), [1, 1, 1], 1e-6);
  });

  it('gives the gradients of weight and bias alone where x wants none', async () => {
    const x = engine().tensor([1, 3, 5, 7], [4, 1]);
    const weight = full(1, 1).requiresGrad_();
    const bias = full(0, 1).requiresGrad_();
    const y = batchNorm(x, weight, bias, full(0, 1), full(1, 1), { training: true, eps: 0 });
    y.backward(engine().tensor([0, 0, 0, 1], [4, 1]));
    // The normalised 7 is 3 / sqrt(5).
    expectClose(await weight.grad!.read(), [3 / Math.sqrt(5)], 1e-6);
    expectClose(await bias.grad!.read(), [1], 1e-6);
    expect(x.grad).toBeNull();
  });

  it.each([false, true])('keeps NaN through the ReLU, as PyTorch does (training: %s)', async (training) => {
    // Channels of four, of one and of pixels in fours: the three layouts. In training the NaN spreads over its channel.
    for (const [shape, channels] of [
      [[3, 4], 4],
      [[3, 3], 3],
      [[3, 1, 2, 2], 1],
    ] as const) {
      const x = engine().tensor([NaN, ...new Array<number>(product(shape) - 1).fill(-1)], shape);
      x.requiresGrad_();
      const running = [full(0, channels), full(1, channels)] as const;
      const y = batchNorm(x, full(1, channels), full(0, channels), ...running, { training, relu: true, eps: 0 });
      y.backward(engine().full(shape, 1));
      const values = await y.read();
      expect(values[0]).toBeNaN();
      if (training) continue;
      expect([...values].slice(1)).toEqual([...values].slice(1).fill(0));
      // The gradient passes at the NaN, which is not at or below zero.
      expect([...(await x.grad!.read())]).toEqual([...values].map((value) => (Number.isNaN(value) ? 1 : 0)));
    }
  });

  it('says what does not fit', () => {
    const x = engine().full([1, 3, 1, 1], 1);
    const all = (y = x, n = 3) => batchNorm(y, full(1, n), full(0), full(0), full(1), { training: true });
    expect(() => all()).toThrow(/bad-argument[\s\S]*more than one value/);
    expect(() => all(engine().full([2, 3], 1), 4)).toThrow(/shape of the weight/);
    expect(() => all(engine().full([3], 1))).toThrow(/shape-mismatch/);
  });
});

describe('BatchNorm2d', () => {
  const engine = useEngineAs({});

  it('counts batches in training alone, and those of replayed steps when told', () => {
    const layer = new BatchNorm2d(engine(), 3);
    const x = engine().tensor(uniform(24, 1), [2, 3, 2, 2]);
    layer.forward(x);
    layer.eval().forward(x);
    trackBatches(layer, 5);
    expect(layer.numBatchesTracked.value).toBe(1);
    trackBatches(layer.train(), 5);
    expect(layer.numBatchesTracked.value).toBe(6);
    expect([...layer.stateDict().keys()]).toEqual(['weight', 'bias', 'running_mean', 'running_var']);
  });
});
