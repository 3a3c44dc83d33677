import { describe, expect, it } from 'vitest';
import { globalAvgPool, scaleChannels, to } from '../../engine/node.ts';
import { casesFor } from '../cases/channels.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { HALF_UNIT, rounded } from '../support/f16.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

// Sums of up to a few thousand f32 numbers in pieces, relative to a sum that is smaller than its terms together.
const TOLERANCE = 1e-5;

describe.each(PROFILES)('pooling and gates on $name', ({ claims }) => {
  const engine = useEngineAs(claims);

  const images = casesFor(claims.maxBindingSize).filter(({ shape }) => shape.length === 4);

  it.each(images)('$name', async ({ shape, scale = 1, offset = 0 }) => {
    const [batch, channels] = shape;
    const plane = product(shape.slice(2));
    const rows = batch * channels;
    const data = uniform(product(shape), 1, scale).map((value) => value + offset);
    const row = (i: number): number => Math.floor(i / plane);

    const pooled = await differentiate(engine(), [{ shape, data }], globalAvgPool);
    const means = new Float64Array(rows);
    data.forEach((value, i) => (means[row(i)] += value / plane));
    expect(pooled.shape).toEqual([batch, channels]);
    expectClose(pooled.y, means, TOLERANCE, 'mean');
    expectClose(
      pooled.gradients[0],
      Array.from(data, (_, i) => pooled.dy[row(i)] / plane),
      TOLERANCE,
      'dx of mean',
    );

    const gate = uniform(rows, 2);
    const operands = [
      { shape, data },
      { shape: [batch, channels, 1, 1], data: gate },
    ];
    const halves = engine().profile.f16 && offset + scale < 65504 ? [false, true] : [false];
    for (const half of halves) {
      const scaled = await differentiate(engine(), operands, (x, g) => {
        const y = scaleChannels(x, g, half ? 'f16' : 'f32');
        expect(y.dtype).toBe(half ? 'f16' : 'f32');
        return to(y, 'f32');
      });
      // In f16 y is one rounding away, and its gradient is rounded before anything is computed of it.
      const dy = half ? rounded(scaled.dy) : scaled.dy;
      const dgate = new Float64Array(rows);
      data.forEach((value, i) => (dgate[row(i)] += value * dy[i]));
      const times = (values: ArrayLike<number>) => Array.from(data, (_, i) => values[i] * gate[row(i)]);
      expectClose(scaled.y, times(data), half ? HALF_UNIT : TOLERANCE, 'scaled');
      expectClose(scaled.gradients[0], times(dy), TOLERANCE, 'dx of scaled');
      expectClose(scaled.gradients[1], dgate, TOLERANCE, 'dgate');
    }
  });
});

describe('pooling and gates', () => {
  const engine = useEngineAs({});

  it('add up where both come from the same images, as in squeeze-and-excitation', async () => {
    // y = x mean(x): dx = mean(x) dy + mean(x dy), here with dy = 1.
    const data = uniform(2 * 3 * 5 * 2, 1);
    const found = await differentiate(
      engine(),
      [{ shape: [2, 3, 5, 2], data }],
      (x) => scaleChannels(x, globalAvgPool(x)),
      new Float32Array(data.length).fill(1),
    );
    const mean = (i: number) => data.slice(i - (i % 10), i - (i % 10) + 10).reduce((a, b) => a + b, 0) / 10;
    expectClose(
      found.gradients[0],
      Array.from(data, (_, i) => 2 * mean(i)),
      TOLERANCE,
    );
  });

  it('say what does not fit', () => {
    const x = engine().full([2, 3, 4, 4], 1);
    expect(() => globalAvgPool(engine().full([2, 3], 1))).toThrow(/shape-mismatch[\s\S]*\[B, C, H, W\]/);
    expect(() => scaleChannels(x, engine().full([3, 2], 1))).toThrow(/the gate/);
    expect(() => scaleChannels(x, engine().full([2, 3, 4], 1))).toThrow(/one number for each/);
  });
});
