import { describe, it } from 'vitest';
import { interpolate, interpolateGradient } from '../../kernels/interpolate/index.ts';
import { interpolateReference } from '../../kernels/interpolate/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();
const MODES = [
  { mode: 'nearest', alignCorners: false },
  { mode: 'bilinear', alignCorners: false },
  { mode: 'bilinear', alignCorners: true },
  { mode: 'bicubic', alignCorners: false },
  { mode: 'bicubic', alignCorners: true },
] as const;
const RUNS = interpolate.variants.flatMap((variant) => MODES.map((mode) => ({ variant, ...mode })));

describe.each(RUNS)('$mode, corners aligned: $alignCorners, variant $variant', ({ variant, ...mode }) => {
  it.each([
    { outer: 3, length: 5, size: 8, inner: 4 },
    { outer: 2, length: 9, size: 4, inner: 3 },
    { outer: 1, length: 6, size: 24, inner: 1 },
    { outer: 2, length: 7, size: 1, inner: 2 },
    { outer: 2, length: 1, size: 5, inner: 2 },
  ])('$length pixels become $size, and the gradient', async (sizes) => {
    const problem = { ...sizes, ...mode };
    const { outer, length, size, inner } = problem;
    const [x, dy] = [uniform(outer * length * inner, 1), uniform(outer * size * inner, 2)];
    const expected = interpolateReference(problem, x, dy);
    const own = { ...problem, variant };
    const y = await resultOf(engine(), interpolate, own, { x: engine().tensor(x) }, dy.length);
    // A place of up to 8 has an error of 5e-7, which the weights take over.
    expectClose(y, expected.y, 2e-6);
    const dx = await resultOf(engine(), interpolateGradient, own, { dy: engine().tensor(dy) }, x.length);
    expectClose(dx, expected.dx, 2e-6);
  });
});
