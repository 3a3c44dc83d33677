import { describe, expect, it } from 'vitest';
import { gatherElements, gatherGradient } from '../../kernels/gather/index.ts';
import { gatherReference } from '../../kernels/gather/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();
const NAN_BITS = 0x7fc00000;

describe.each(gatherElements.variants)('elements by index, variant %s', (variant) => {
  it.each([
    { outer: 1, length: 1, inner: 1, count: 1 },
    { outer: 2, length: 5, inner: 3, count: 4 },
    { outer: 3, length: 4, inner: 8, count: 9 },
  ])('of $outer x $length x $inner, $count each, and their gradient', async (problem) => {
    const { outer, length, inner, count } = problem;
    const [from, to] = [outer * length * inner, outer * count * inner];
    const [x, dy] = [uniform(from, 1), uniform(to, 2)];
    // From -1 to length: indices on both sides are out of range.
    const index = Array.from(uniform(to, 3, 0.5), (u) => Math.floor((u + 0.5) * (length + 2)) - 1);
    const expected = gatherReference(problem, { x, index, dy });
    const own = { ...problem, variant };
    const indices = engine().tensor(index, [to], 'i32');
    const operands = { x: engine().tensor(x), index: indices };
    const y = await resultOf(engine(), gatherElements, { ...own, invalid: NAN_BITS }, operands, to);
    expect(y).toEqual(Array.from(expected.y));
    const dx = await resultOf(engine(), gatherGradient, own, { dy: engine().tensor(dy), index: indices }, from);
    // At most nine terms.
    expectClose(dx, expected.dx, 3e-7);
  });
});
