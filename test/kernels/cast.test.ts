import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { cast } from '../../kernels/cast/index.ts';
import type { CastType } from '../../kernels/cast/index.ts';
import { castReference, f16Bits, f16Value } from '../../kernels/cast/reference.ts';
import { uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { rounded } from '../support/f16.ts';
import { useEngineAs } from '../support/device-profiles.ts';

const engine = useEngine();
const withoutF16 = useEngineAs({ f16: false });

describe.each(cast.variants)('cast, variant %s', (variant) => {
  const own = useEngine({ variant });
  const given = {
    f32: [0, 1.9, -1.9, 2.5, -3, 16777217, 1e9, 3e9, -3e9, 5e9, Infinity, -Infinity],
    i32: [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 16777217],
    u32: [0, 1, 2 ** 31, 2 ** 32 - 1, 16777217],
  };

  it.each(Object.keys(given) as (keyof typeof given)[])('of %s to every type of 32 bits', async (from) => {
    for (const to of ['f32', 'i32', 'u32'] as const satisfies CastType[]) {
      if (to === from) continue;
      const x = own().tensor(given[from], [given[from].length], from);
      const expected = given[from].map((value) => castReference(from === 'f32' ? Math.fround(value) : value, from, to));
      // The sign of a zero is not compared.
      expect(
        Array.from(await ops.to(x, to).read(), (value) => value + 0),
        `${from} to ${to}`,
      ).toEqual(expected.map((value) => value + 0));
    }
  });
});

describe('to', () => {
  it('f32 to f16 and back rounds to the nearest', async ({ skip }) => {
    if (!engine().profile.f16) skip();
    const x = Float32Array.from([
      ...uniform(1001, 1, 100),
      ...uniform(100, 2, 1e-4),
      0,
      -0,
      1,
      -1,
      65504,
      -65504,
      65520,
      1e30,
      -Infinity,
      Infinity,
      2 ** -24,
      2 ** -25,
      1.5 * 2 ** -24,
      2049,
      2051,
      6.1e-5,
    ]);
    const half = ops.to(engine().tensor(x), 'f16');
    expect(half.dtype).toBe('f16');
    const bits = Array.from(await half.read());
    expect(bits).toEqual(Array.from(x, f16Bits));
    const back = await ops.to(half, 'f32').read();
    expect(Array.from(back)).toEqual(bits.map(f16Value));
    expect(Array.from(await ops.to(ops.to(engine().tensor([NaN]), 'f16'), 'f32').read())).toEqual([NaN]);
  });

  it('integers', async ({ skip }) => {
    const x = engine().tensor([0, 1.9, -1.9, 2.5, -3, 16777217, 1e9]);
    const integers = ops.to(x, 'i32');
    expect(integers.dtype).toBe('i32');
    expect(Array.from(await integers.read())).toEqual([0, 1, -1, 2, -3, 16777216, 1000000000]);
    expect(Array.from(await ops.to(ops.abs(x), 'u32').read())).toEqual([0, 1, 1, 2, 3, 16777216, 1000000000]);
    expect(Array.from(await ops.to(integers, 'f32').read())).toEqual([0, 1, -1, 2, -3, 16777216, 1000000000]);
    const words = engine().tensor([-1, 5], [2], 'i32');
    expect(Array.from(await ops.to(words, 'u32').read())).toEqual([0xffffffff, 5]);
    expect(Array.from(await ops.to(ops.to(words, 'u32'), 'f32').read())).toEqual([2 ** 32, 5]);
    if (!engine().profile.f16) skip();
    expect(Array.from(await ops.to(ops.to(words, 'f16'), 'i32').read())).toEqual([-1, 5]);
  });

  it('the gradient passes through f16 and stops at integers', async ({ skip }) => {
    const x = engine().tensor([1, 2]).requiresGrad_();
    expect(ops.to(x, 'i32').requiresGrad).toBe(false);
    expect(ops.to(x, 'f32')).toBe(x);
    if (!engine().profile.f16) skip();
    const { dy, gradients } = await differentiate(engine(), [{ shape: [5], data: uniform(5, 1) }], (t) =>
      ops.to(ops.to(t, 'f16'), 'f32'),
    );
    // Rounded on its way, as the values are.
    expect(gradients[0]).toEqual(rounded(dy));
  });

  it('f16 on a device without it is a named error', () => {
    expect(() => ops.to(withoutF16().zeros([2]), 'f16')).toThrow(/feature-missing/);
  });
});
