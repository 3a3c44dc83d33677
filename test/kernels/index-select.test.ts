import { describe, expect, it } from 'vitest';
import { indexSelect } from '../../engine/node.ts';
import { indexSelectReference } from '../../kernels/index-select/reference.ts';
import { rowShape } from '../../kernels/lib/rows.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

describe.each(PROFILES)('indexSelect on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);

  it.each([
    { shape: [6], dim: 0, index: [5, 0, 0, 3] },
    { shape: [4, 5, 8], dim: 1, index: [2, 2, 4] },
    { shape: [4, 5, 3], dim: 2, index: [0, 2, 2, 2, 1, 2] },
    { shape: [7, 3], dim: 0, index: [6] },
  ])('takes $index of $shape along $dim, and adds up the gradients of equal indices', async ({ shape, dim, index }) => {
    const data = uniform(product(shape), 1);
    const list = engine().tensor(index, [index.length], 'i32').keep();
    const found = await differentiate(engine(), [{ shape, data }], (x) => indexSelect(x, dim, list));
    const { outer, width, inner } = rowShape(shape, dim);
    const problem = { outer, length: width, inner, count: index.length };
    const expected = indexSelectReference(problem, { x: data, index, dy: found.dy });
    expect(found.shape).toEqual(shape.map((size, d) => (d === dim ? index.length : size)));
    // Elements are moved.
    expect(Array.from(found.y)).toEqual(Array.from(expected.y));
    // At most four terms.
    expectClose(found.gradients[0], expected.dx, 2e-7);
  });

  it('counts a negative dimension from the end', async () => {
    const x = engine().tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    const y = indexSelect(x, -1, engine().tensor([2, 0], [2], 'i32'));
    expect(Array.from(await y.read())).toEqual([3, 1, 6, 4]);
  });

  it('gives NaN for an index out of range, not another row', async () => {
    const y = indexSelect(engine().tensor([1, 2, 3]), 0, engine().tensor([3, 1, -1], [3], 'i32'));
    expect(Array.from(await y.read())).toEqual([NaN, 2, NaN]);
  });
});
