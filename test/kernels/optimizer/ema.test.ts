import { describe, it } from 'vitest';
import { emaStep } from '../../../engine/node.ts';
import { emaReference } from '../../../kernels/optimizer/ema/reference.ts';
import { expectClose, uniform } from '../../support/close.ts';
import { useEngine } from '../../support/engine.ts';

const engine = useEngine();

describe('moving average', () => {
  it('is d e + (1 - d) p, with 1 - d to full precision', async () => {
    const gpu = engine();
    const decay = 0.99996;
    const [e, p] = [uniform(101, 1), uniform(101, 2, 1e6)];
    const average = gpu.tensor(e);
    emaStep({ average, values: gpu.tensor(p), decay });
    expectClose(await average.read(), emaReference(decay, e, p), 2e-7);
  });
});
