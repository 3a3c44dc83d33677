import { describe, it } from 'vitest';
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
