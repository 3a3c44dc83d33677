import { describe, expect, it } from 'vitest';
import { mixedTargets } from '../../engine/node.ts';
import { softTargets } from '../../deit/data/index.ts';
import { softTargetsReference } from '../../kernels/soft-targets/reference.ts';
import { MIX_CASES } from '../cases/mix.ts';
import { expectClose } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

describe.each(MIX_CASES)('targets of mixing %o', (mix, row) => {
  it('mixes smoothed targets by the formula, and so does the host version', async () => {
    const labels = Int32Array.from([2, 0, 0, 1]);
    const targets = mixedTargets(engine().tensor(labels, [4], 'i32'), engine().tensor(row), {
      classes: 3,
      smoothing: 0.1,
    });
    const expected = softTargetsReference({ batch: 4, classes: 3, smoothing: 0.1 }, labels, mix.lambda);
    expectClose(await targets.read(), expected, 1e-6);
    expectClose(softTargets(labels, 3, 0.1, mix.lambda), expected, 1e-6, 'the host version');
  });
});

it('gives the mixed cross-entropy targets of the recipe: off 0.025, on 0.925 for K = 4 and smoothing 0.1', async () => {
  const labels = engine().tensor([0, 2], [2], 'i32');
  const targets = await mixedTargets(labels, engine().tensor([1, 0.3, 0, 0, 0, 0]), {
    classes: 4,
    smoothing: 0.1,
  }).read();
  const expected = [0.3 * 0.925 + 0.7 * 0.025, 0.025, 0.3 * 0.025 + 0.7 * 0.925, 0.025];
  expectClose(targets.slice(0, 4), expected, 1e-6);
  expect(targets.length).toBe(8);
});
