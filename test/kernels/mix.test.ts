import { describe, it } from 'vitest';
import { mixOnGpu } from '../../engine/node.ts';
import { mixImages } from '../../deit/data/index.ts';
import { MIX_CASES } from '../cases/mix.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();
const shape = [4, 3, 5, 7] as const;
const images = uniform(4 * 3 * 5 * 7, 1);
describe.each(MIX_CASES)('mixing %o', (mix, row) => {
  it('mixes images as the host version does', async () => {
    const mixed = mixOnGpu(engine().tensor(images, shape), engine().tensor(row));
    // One multiplication and one addition in f32.
    expectClose(await mixed.read(), mixImages(images, shape, mix), 1e-7);
  });
});
