/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { logSoftmax, softmax } from '../../engine/ops/softmax.ts';
import { softmaxReference } from '../../kernels/softmax/reference.ts';
import { ROW_CASES, STRIDED_CASES } from '../cases/rows.ts';
import type { RowCase } from '../cases/rows.ts';
import { expectClose, uniform } from '../support/close.ts';
import { leaf } from '../support/engine.ts';
import { expectCloseRows, shapeOf } from '../support/rows.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

// Sums of up to a few thousand f32 numbers, each a few roundings of 6e-8, that grow with the square root at most.
const TOLERANCE = 1e-6;

describe.each(PROFILES)('softmax on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  // Chunks of a ragged width start at multiples of 64 rows.
  const fits = ({ shape }: RowCase) => shape.at(-1)! * 4 * 64 <= (claims.maxBindingSize ?? Infinity);
  const cases = ROW_CASES.filter(fits);

  for (const [name, op, log] of [
    ['softmax', softmax, false],
    ['logSoftmax', logSoftmax, true],
  ] as const) {
    it(`${name} and its gradient`, async () => {
      for (const c of [...cases, ...STRIDED_CASES]) {
        const x = leaf(engine(), c.data, c.shape);
        const dy = uniform(c.data.length, 7);
        const y = op(x, c.dim);
        y.backward(engine().tensor(dy, c.shape));
        const expected = softmaxReference({ ...shapeOf(c), log }, c.data, dy);
        expectClose(await y.read(), expected.y, TOLERANCE, c.name);
        // dy - sum(y dy) cancels where one element has nearly all the weight.
        await expectCloseRows(x.grad!, expected.dx, 2 * TOLERANCE, `${c.name}, dx`);
      }
    });
  }
});

describe('softmax', () => {
  const engine = useEngineAs({});

  it('a row of NaN, infinities or nothing but minus infinity is alone in that, whatever its width', async () => {
    for (const width of [12, 13, 61, 66, 197]) {
      const data = uniform(9 * width, 3);
      data.fill(-Infinity, 2 * width, 3 * width);
      data[4 * width] = NaN;
      data[7 * width - 1] = Infinity;
      data[8 * width] = -Infinity;
      const c = { name: `${width} wide`, shape: [9, width], dim: -1, data, loss: 1 };
      const expected = softmaxReference({ ...shapeOf(c), log: false }, data, data).y;
      // Written out as PyTorch has them: 0 / 0 and inf - inf.
      for (const row of [2, 4, 6]) expected.fill(NaN, row * width, (row + 1) * width);
      const y = await softmax(engine().tensor(data, c.shape)).read();
      for (let i = 0; i < y.length; i++) expect(Number.isNaN(y[i]), `${c.name}, ${i}`).toBe(Number.isNaN(expected[i]));
      const finite = (values: ArrayLike<number>) => Float64Array.from(values, (v) => (Number.isNaN(v) ? 0 : v));
      expectClose(finite(y), finite(expected), TOLERANCE, c.name);
      expect(y[8 * width]).toBe(0);
    }
  });

  it('names mistakes', () => {
    expect(() => softmax(engine().zeros([2, 5]), 2)).toThrow(/no such dimension/);
    expect(() => softmax(engine().tensor([1], [1], 'i32'))).toThrow(/takes f32/);
  });
});
