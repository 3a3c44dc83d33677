import { describe, it } from 'vitest';
import { cumsum } from '../../kernels/cumsum/index.ts';
import { cumsumReference } from '../../kernels/cumsum/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();

describe.each(cumsum.variants)('cumulative sum, variant %s', (variant) => {
  it.each([
    { outer: 1, length: 1, inner: 1 },
    { outer: 3, length: 65, inner: 1 },
    { outer: 2, length: 7, inner: 5 },
    { outer: 2, length: 1000, inner: 3 },
  ])('of $outer x $length x $inner, from either end', async (sizes) => {
    const n = sizes.outer * sizes.length * sizes.inner;
    const x = uniform(n, 1);
    for (const reversed of [false, true]) {
      const problem = { ...sizes, reversed };
      const y = await resultOf(engine(), cumsum, { ...problem, variant }, { x: engine().tensor(x) }, n);
      // Roundings of 6e-8 add up like the terms, some 20 times at random in a line of 1000.
      expectClose(y, cumsumReference(problem, x), 1e-6);
    }
  });
});
