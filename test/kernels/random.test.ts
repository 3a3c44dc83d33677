import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import { PhiloxStream, Purpose } from '../../kernels/lib/philox.ts';
import { randomNormal } from '../../kernels/random/index.ts';
import { randomNormalReference, randomUniformReference } from '../../kernels/random/reference.ts';
import { expectClose } from '../support/close.ts';
import { atStep } from '../support/draws.ts';
import { useEngine } from '../support/engine.ts';

const SEED = 0xdecade01;

const stream = (purpose: Purpose, step: number, number: number) => new PhiloxStream(SEED, purpose, step, number);

describe.each(randomNormal.variants)('random fills, variant %s', (variant) => {
  const engine = useEngine({ seed: SEED, variant });
  const read = async (y: Tensor) => Array.from(await y.read());

  it('randomUniform is what the host draws', async () => {
    const found = await atStep(engine(), 9, () =>
      read(ops.randomUniform(engine(), [3, 7], { low: -2, high: 3, stream: 6, purpose: Purpose.augment })),
    );
    expectClose(found, randomUniformReference(21, -2, 3, stream(Purpose.augment, 9, 6)), 1e-6);
    // The unit interval takes no rounding at all.
    expect(await read(ops.randomUniform(engine(), [129]))).toEqual(
      randomUniformReference(129, 0, 1, stream(Purpose.sample, 0, 0)),
    );
  });

  it('randomNormal is what the host draws', async () => {
    const found = await atStep(engine(), 2, () =>
      read(ops.randomNormal(engine(), [10_001], { mean: 0.5, std: 2, stream: 1, purpose: Purpose.init })),
    );
    const expected = randomNormalReference(10_001, 0.5, 2, stream(Purpose.init, 2, 1));
    expectClose(found, expected, 1e-6);
    // An f32 word next to 2^32 leaves 2^-25 of u, where -2 ln u is small: the worst element, absolutely.
    expect(Math.max(...found.map((value, i) => Math.abs(value - expected[i])))).toBeLessThan(2e-5);
    // Unless told otherwise: a standard normal, by the draws of samples.
    const plain = await read(ops.randomNormal(engine(), [129]));
    expectClose(plain, randomNormalReference(129, 0, 1, stream(Purpose.sample, 0, 0)), 1e-6);
  });

  it('have nothing to draw for no element, and refuse numbers that are not finite', async () => {
    const launched: string[] = [];
    const [normal, flat] = engine().observe(
      ({ kernel }) => launched.push(kernel),
      () => [ops.randomNormal(engine(), [0, 3]), ops.randomUniform(engine(), [2, 0])],
    );
    expect([normal.shape, flat.shape, launched]).toEqual([[0, 3], [2, 0], []]);
    expect([await read(normal), await read(flat)]).toEqual([[], []]);
    for (const options of [{ mean: NaN }, { std: Infinity }])
      expect(() => ops.randomNormal(engine(), [4], options)).toThrow(/finite mean and std/);
    for (const options of [{ low: NaN }, { high: Infinity }])
      expect(() => ops.randomUniform(engine(), [4], options)).toThrow(ops.DeitError);
  });
});
