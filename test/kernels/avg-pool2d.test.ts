import { describe, it } from 'vitest';
import { avgPool2d, avgPool2dGradient } from '../../kernels/avg-pool2d/index.ts';
import { avgPool2dReference } from '../../kernels/avg-pool2d/reference.ts';
import { POOL_CASES } from '../cases/pool.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();
const RUNS = avgPool2d.variants.flatMap((variant) =>
  [false, true].map((countIncludePad) => ({ variant, countIncludePad })),
);

describe.each(RUNS)('mean pooling, variant $variant, padding counts: $countIncludePad', (run) => {
  // PyTorch's avg_pool2d has no dilation.
  it.each(POOL_CASES.filter(({ problem }) => problem.dilation[0] === 1))('$name, and the gradient', async (one) => {
    const problem = { ...one.problem, countIncludePad: run.countIncludePad };
    const { planes, height, width, windows } = problem;
    const [n, results] = [planes * height * width, planes * windows[0] * windows[1]];
    const [x, dy] = [uniform(n, 1), uniform(results, 2)];
    const expected = avgPool2dReference(problem, x, dy);
    const own = { ...problem, variant: run.variant };
    // Sums of at most nine terms.
    const y = await resultOf(engine(), avgPool2d, own, { x: engine().tensor(x) }, results);
    expectClose(y, expected.y, 3e-7);
    const dx = await resultOf(engine(), avgPool2dGradient, own, { dy: engine().tensor(dy) }, n);
    expectClose(dx, expected.dx, 3e-7);
  });
});
