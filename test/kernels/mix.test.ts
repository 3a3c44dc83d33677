import { describe, expect, it } from 'vitest';
import { mixOnGpu } from '../../engine/node.ts';
import { mixImages } from '../../deit/data/index.ts';
import { mixReference } from '../../kernels/mix/reference.ts';
import { MIX_CASES } from '../cases/mix.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();
const shape = [4, 3, 5, 7] as const;
const images = uniform(4 * 3 * 5 * 7, 1);
describe.each(MIX_CASES)('mixing %o', (mix, row) => {
  it('mixes images by the formula, and so does the host version', async () => {
    const mixed = mixOnGpu(engine().tensor(images, shape), engine().tensor(row));
    // One multiplication and one addition in f32.
    const [batch, channels, height, width] = shape;
    expectClose(await mixed.read(), mixReference({ batch, channels, height, width }, images, row), 1e-7);
    expectClose(mixImages(images, shape, mix), await mixed.read(), 1e-7, 'the host version');
  });
});

it('what is to be mixed is a batch of images, by six numbers', () => {
  const [batch, row] = [engine().tensor(images, shape), engine().zeros([6])];
  expect(() => mixOnGpu(engine().zeros([4, 3, 35]), row)).toThrow(
    /shape-mismatch[\s\S]*\[batch, channels, height, width\]/,
  );
  expect(() => mixOnGpu(batch, engine().zeros([5]))).toThrow(/shape-mismatch[\s\S]*mix/);
});
