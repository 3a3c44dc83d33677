import { describe, expect, it } from 'vitest';
import { globalAvgPool, scaleChannels } from '../../engine/node.ts';
import { globalAvgPoolReference } from '../../kernels/global-avg-pool/reference.ts';
import { casesFor } from '../cases/channels.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

// Sums of up to a few thousand f32 numbers in pieces, relative to a sum that is smaller than its terms together.
const TOLERANCE = 1e-5;

describe.each(PROFILES)('globalAvgPool on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);

  const images = casesFor(claims.maxBindingSize).filter(({ shape }) => shape.length === 4);

  it.each(images)('$name', async ({ shape, scale = 1, offset = 0 }) => {
    const [batch, channels] = shape;
    const plane = product(shape.slice(2));
    const data = uniform(product(shape), 1, scale).map((value) => value + offset);
    const pooled = await differentiate(engine(), [{ shape, data }], globalAvgPool);
    const expected = globalAvgPoolReference({ batch, channels, plane }, data, pooled.dy);
    expect(pooled.shape).toEqual([batch, channels]);
    expectClose(pooled.y, expected.y, TOLERANCE, 'mean');
    expectClose(pooled.gradients[0], expected.dx, TOLERANCE, 'dx of mean');
  });
});

describe('globalAvgPool', () => {
  const engine = useEngineAs({});

  it('adds to the gradient of a gate from the same images, as in squeeze-and-excitation', async () => {
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

  it('says what does not fit', () => {
    expect(() => globalAvgPool(engine().full([2, 3], 1))).toThrow(/shape-mismatch[\s\S]*\[B, C, H, W\]/);
  });
});
