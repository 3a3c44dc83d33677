import { describe, expect, it } from 'vitest';
import { mixOnGpu, mixedTargets } from '../../engine/node.ts';
import { mixImages, softTargets } from '../../deit/data/index.ts';
import type { MixParameters } from '../../deit/data/index.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();
const shape = [4, 3, 5, 7] as const;
const images = uniform(4 * 3 * 5 * 7, 1);
const cases: [MixParameters, number[]][] = [
  [{ kind: 'none', lambda: 1 }, [0, 1, 0, 0, 0, 0]],
  [{ kind: 'mixup', lambda: 0.3 }, [1, 0.3, 0, 0, 0, 0]],
  [{ kind: 'cutmix', lambda: 0.8, box: { top: 1, left: 2, bottom: 4, right: 6 } }, [2, 0.8, 1, 2, 4, 6]],
];

describe.each(cases)('mixing %o', (mix, row) => {
  it('mixes images as the host version does', async () => {
    const mixed = mixOnGpu(engine().tensor(images, shape), engine().tensor(row));
    // One multiplication and one addition in f32.
    expectClose(await mixed.read(), mixImages(images, shape, mix), 1e-7);
  });

  it('mixes smoothed targets as the host version does', async () => {
    const labels = Int32Array.from([2, 0, 0, 1]);
    const targets = mixedTargets(engine().tensor(labels, [4], 'i32'), engine().tensor(row), {
      classes: 3,
      smoothing: 0.1,
    });
    expectClose(await targets.read(), softTargets(labels, 3, 0.1, mix.lambda), 1e-6);
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
