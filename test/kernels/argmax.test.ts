import { describe, expect, it } from 'vitest';
import { argmax } from '../../engine/node.ts';
import { argmaxReference } from '../../kernels/argmax/reference.ts';
import { uniform } from '../support/close.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

describe.each(PROFILES)('argmax on $name', ({ claims, variant }) => {
  const device = useEngineAs(claims, variant);

  it('takes the first of equals, and NaN', async () => {
    const rows = [
      [1, 3, 3, 2],
      [-5, -5, -7, -9],
      [-Infinity, -Infinity, -Infinity, -Infinity],
      [1, NaN, 5, NaN],
      [-0, 0, 0, -0],
    ];
    const y = await argmax(device().tensor(rows.flat(), [5, 4])).read();
    expect(y).toBeInstanceOf(Int32Array);
    expect(Array.from(y)).toEqual([1, 0, 0, 1, 0]);
    expect(Array.from(await argmax(device().tensor(rows.flat(), [5, 4]), 0).read())).toEqual(
      argmaxReference({ outer: 1, reduce: 5, inner: 4 }, rows.flat()),
    );
    const long = uniform(3 * 1001, 5);
    long[700] = long[1000] = 2;
    expect(Array.from(await argmax(device().tensor(long, [3, 1001])).read())).toEqual(
      argmaxReference({ outer: 3, reduce: 1001, inner: 1 }, long),
    );
  });

  it('takes a NaN with the sign bit set for a NaN', async () => {
    const x = new Float32Array(new Uint32Array([0x3f800000, 0xffc00000, 0x40000000, 0xff800000]).buffer);
    expect(await argmax(device().tensor(x)).item()).toBe(1);
  });

  it('has no gradient', () => {
    expect(argmax(device().zeros([2, 3]).requiresGrad_()).requiresGrad).toBe(false);
  });
});
