import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { dropout } from '../../kernels/dropout/index.ts';
import { dropoutReference } from '../../kernels/dropout/reference.ts';
import { PhiloxStream, Purpose, uniform01 } from '../../kernels/lib/philox.ts';
import { expectClose, uniform } from '../support/close.ts';
import { atStep, words } from '../support/draws.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { useEngineAs } from '../support/device-profiles.ts';

const SEED = 0xdecade01;
const engine = useEngine({ seed: SEED });

const stream = (purpose: Purpose, step: number, number: number) => new PhiloxStream(SEED, purpose, step, number);

describe.each(dropout.variants)('dropout, variant %s', (variant) => {
  const own = useEngine({ seed: SEED, variant });

  it.each([[1], [7], [3, 130]])('draws the words that the host draws, forward and backward (%j)', async (...shape) => {
    const x = uniform(
      shape.reduce((a, b) => a * b, 1),
      1,
    );
    const rate = 0.3;
    const { y, dy, gradients } = await atStep(own(), 17, () =>
      differentiate(own(), [{ shape, data: x }], (t) => ops.dropout(t, rate, 5)),
    );
    const u = words(stream(Purpose.dropout, 17, 5), x.length).map(uniform01);
    // The factor and the product are rounded once each, by 6e-8.
    expectClose(y, dropoutReference(rate, u, x), 1.5e-7);
    expectClose(gradients[0], dropoutReference(rate, u, dy), 1.5e-7);
  });
});

describe('dropout', () => {
  it('is x itself at rate 0 and outside of training, and zero at rate 1', async () => {
    const x = engine().tensor([1, Infinity, 3]);
    expect(ops.dropout(x, 0, 1)).toBe(x);
    expect(ops.dropout(x, 0.5, 1, false)).toBe(x);
    expect(Array.from(await ops.dropout(x, 1, 1).read())).toEqual([0, 0, 0]);
    expect(() => ops.dropout(x, 1.5, 1)).toThrow(/bad-argument/);
  });

  it.each([[undefined], [1.5], [-1], [NaN]])('is refused without a number that tells it apart: %s', (stream) => {
    const x = engine().tensor([1, 2, 3]);
    expect(() => ops.dropout(x, 1, stream as number)).toThrow('dropout(x, p, stream)');
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
])('dropout, $name', ({ claims }) => {
  const device = useEngineAs(claims);
  const own = (purpose: Purpose, step: number, number: number) => new PhiloxStream(0, purpose, step, number);

  it('dropout draws the same words for all parts of a tensor', async () => {
    const y = await ops.dropout(device().full([6001], 1), 0.5, 3).read();
    const u = words(own(Purpose.dropout, 0, 3), 6001).map(uniform01);
    expect(Array.from(y)).toEqual(Array.from(dropoutReference(0.5, u, new Float32Array(6001).fill(1))));
  });
});
