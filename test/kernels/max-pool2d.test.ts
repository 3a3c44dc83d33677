import { describe, expect, it } from 'vitest';
import { maxPool2dGradient, maxPool2dIndex } from '../../kernels/max-pool2d/index.ts';
import { maxPool2dReference } from '../../kernels/max-pool2d/reference.ts';
import { POOL_CASES } from '../cases/pool.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();

describe.each(maxPool2dIndex.variants)('max pooling, variant %s', (variant) => {
  it.each(POOL_CASES)('$name: the places of the largest, and the gradient', async ({ problem }) => {
    const { planes, height, width, windows } = problem;
    const [n, results] = [planes * height * width, planes * windows[0] * windows[1]];
    // Tenths: many are equal.
    const x = uniform(n, 1, 10).map((value) => Math.round(value) / 10);
    const dy = uniform(results, 2);
    const expected = maxPool2dReference(problem, x, dy);
    const own = { ...problem, variant };
    const found = await resultOf(engine(), maxPool2dIndex, own, { x: engine().tensor(x) }, results, 'i32');
    expect(found).toEqual(expected.index);
    const index = engine().tensor(found, [results], 'i32');
    const dx = await resultOf(engine(), maxPool2dGradient, own, { dy: engine().tensor(dy), index }, n);
    // At most nine terms.
    expectClose(dx, expected.dx, 3e-7);
  });

  it('takes the first NaN for the largest, and no padding', async () => {
    const [{ problem }] = POOL_CASES;
    const x = Float32Array.from(uniform(problem.planes * problem.height * problem.width, 1), (value) => value - 5);
    x[7] = NaN;
    x[8] = -Infinity;
    const expected = maxPool2dReference(problem, x, new Float32Array(x.length));
    const operands = { x: engine().tensor(x) };
    const found = await resultOf(
      engine(),
      maxPool2dIndex,
      { ...problem, variant },
      operands,
      expected.index.length,
      'i32',
    );
    expect(found).toEqual(expected.index);
  });
});
