import { describe, it } from 'vitest';
import { scatterElements } from '../../kernels/scatter/index.ts';
import { scatterReference } from '../../kernels/scatter/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();
const RUNS = scatterElements.variants.flatMap((variant) =>
  (['replace', 'add', 'mask'] as const).map((mode) => ({ variant, mode })),
);

describe.each(RUNS)('scatter, $mode, variant $variant', ({ variant, mode }) => {
  it.each([
    { outer: 1, length: 1, inner: 1, count: 1 },
    { outer: 2, length: 5, inner: 3, count: 4 },
    { outer: 3, length: 4, inner: 8, count: 9 },
  ])('of $count x $inner into $length', async (sizes) => {
    const { outer, length, inner, count } = sizes;
    const problem = { ...sizes, mode };
    const [n, from] = [outer * length * inner, outer * count * inner];
    const [x, src] = [uniform(n, 1), uniform(from, 2)];
    // From -1 to length: indices on both sides are out of range.
    const index = Array.from(uniform(from, 3, 0.5), (u) => Math.floor((u + 0.5) * (length + 2)) - 1);
    const gpu = engine();
    const operands = {
      x: gpu.tensor(x),
      index: gpu.tensor(index, [from], 'i32'),
      ...(mode !== 'mask' && { src: gpu.tensor(src) }),
    };
    const y = await resultOf(gpu, scatterElements, { ...problem, variant }, operands, n);
    // Elements are moved; sums have at most ten terms.
    expectClose(y, scatterReference(problem, { x, index, src }), mode === 'add' ? 3e-7 : 0);
  });
});
