import { describe, expect, it } from 'vitest';
import { argmax } from '../../engine/node.ts';
import { uniform } from '../support/close.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

describe.each(PROFILES)('argmax on $name', ({ claims }) => {
  const device = useEngineAs(claims);

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
      [0, 3, 3, 0].map((_, c) => {
        const column = rows.map((row) => row[c]);
        const nan = column.findIndex(Number.isNaN);
        return nan >= 0 ? nan : column.indexOf(Math.max(...column));
      }),
    );
    const long = uniform(3 * 1001, 5);
    long[700] = long[1000] = 2;
    const expected = [0, 1, 2].map((r) => {
      const row = Array.from(long.slice(r * 1001, (r + 1) * 1001));
      return row.indexOf(Math.max(...row));
    });
    expect(Array.from(await argmax(device().tensor(long, [3, 1001])).read())).toEqual(expected);
  });

  it('takes a NaN with the sign bit set for a NaN', async () => {
    const x = new Float32Array(new Uint32Array([0x3f800000, 0xffc00000, 0x40000000, 0xff800000]).buffer);
    expect(await argmax(device().tensor(x)).item()).toBe(1);
  });

  it('has no gradient', () => {
    expect(argmax(device().zeros([2, 3]).requiresGrad_()).requiresGrad).toBe(false);
  });
});
