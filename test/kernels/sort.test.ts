import { describe, expect, it } from 'vitest';
import { argsort } from '../../kernels/sort/index.ts';
import { argsortReference } from '../../kernels/sort/reference.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();

describe.each(argsort.variants)('order of lines, variant %s', (variant) => {
  it.each([
    { outer: 1, length: 1, inner: 1 },
    { outer: 3, length: 33, inner: 1 },
    { outer: 2, length: 6, inner: 5 },
    // Longer than a block of shared memory.
    { outer: 1, length: 2500, inner: 2 },
  ])('of $outer x $length x $inner, in either direction', async (sizes) => {
    const n = sizes.outer * sizes.length * sizes.inner;
    // Tenths: many are equal.
    const x = uniform(n, 1, 10).map((value) => Math.round(value) / 10);
    for (const descending of [false, true]) {
      const problem = { ...sizes, descending };
      const y = await resultOf(engine(), argsort, { ...problem, variant }, { x: engine().tensor(x) }, n, 'i32');
      expect(y).toEqual(argsortReference(problem, x));
    }
  });

  it('puts NaN above infinity, and leaves zeros of both signs in order', async () => {
    const x = [1, NaN, -0, Infinity, 0, -Infinity, NaN, -1, 0, -0];
    for (const descending of [false, true]) {
      const problem = { outer: 1, length: x.length, inner: 1, descending };
      const operands = { x: engine().tensor(x) };
      const y = await resultOf(engine(), argsort, { ...problem, variant }, operands, x.length, 'i32');
      expect(y).toEqual(argsortReference(problem, x));
    }
  });
});
