/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { gelu } from '../../engine/ops/gelu.ts';
import { geluForward } from '../../kernels/gelu/index.ts';
import { geluReference } from '../../kernels/gelu/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const CASES: { name: string; x: Float32Array; shape: number[] }[] = [
  { name: 'one element', x: Float32Array.of(0.7), shape: [1] },
  { name: 'a scalar', x: Float32Array.of(-1.3), shape: [] },
  { name: 'ragged', x: uniform(3 * 67, 1, 4), shape: [3, 67] },
  { name: 'an MLP', x: uniform(66 * 768, 2, 3), shape: [66, 768] },
  { name: 'small', x: uniform(129, 3, 1e-5), shape: [129] },
  { name: 'a ramp', x: Float32Array.from({ length: 257 }, (_, i) => (i - 128) / 16), shape: [257] },
  { name: 'extremes', x: Float32Array.of(-1e30, -1e4, -40, -8, 0, 8, 40, 1e4, 1e30), shape: [9] },
  { name: 'equal', x: new Float32Array(12).fill(1.25), shape: [3, 4] },
];

const RUNS = (['none', 'tanh'] as const).flatMap((approximate) =>
  geluForward.variants.map((variant) => ({ approximate, variant })),
);

describe.each(RUNS)('gelu, $approximate, variant $variant', ({ approximate, variant }) => {
  const engine = useEngine({ variant });

  it.each(CASES)('$name: value and gradient', async ({ x, shape }) => {
    const input = engine().tensor(x, shape).requiresGrad_();
    const dy = uniform(x.length, 9);
    const y = gelu(input, { approximate });
    y.backward(engine().tensor(dy, shape));
    const expected = Array.from(x, (value) => geluReference(value, approximate));
    const [values, gradient] = [await y.read(), await input.grad!.read()];
    // erf within 2 and exp within 4 units in the last place; the sums of a dozen terms around them.
    expectClose(
      values,
      expected.map((e) => e.y),
      5e-7,
    );
    expectClose(
      gradient,
      expected.map((e, i) => e.slope * dy[i]),
      1e-6,
    );
    // Each element for itself, so that none hides in the norm: absolutely, as 1 + erf cancels for negative x.
    expected.forEach((e, i) => {
      expect(Math.abs(values[i] - e.y)).toBeLessThan(1e-6 * Math.max(Math.abs(x[i]), Number.MIN_VALUE) + 1e-30);
      expect(Math.abs(gradient[i] - e.slope * dy[i])).toBeLessThan(2e-6 * Math.abs(dy[i]));
    });
  });
});

describe('gelu', () => {
  const engine = useEngine();

  it('names mistakes', () => {
    const form = 'fast' as 'none';
    expect(() => gelu(engine().zeros([3]), { approximate: form })).toThrow(/no such form/);
    expect(() => gelu(engine().tensor([1], [1], 'u32'))).toThrow(/takes f32/);
  });
});
