import { expect, it } from 'vitest';
import { mul, parseSafetensors } from '../../engine/node.ts';
import { AdamW, SGD } from '../../nn/index.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

it('a step before the first prepareStep learns at the rate given to the optimizer, or at 1e-3 as in PyTorch, and never makes NaN', async () => {
  for (const [lr, expected] of [
    // SGD: 3 - lr * 6. AdamW, first step, without decay: 3 - lr * sign(gradient).
    [undefined, [3 - 6e-3, 3 - 1e-3]],
    [0.5, [0, 2.5]],
  ] as const) {
    const found: number[] = [];
    for (const make of [SGD, AdamW]) {
      const x = engine().tensor([3]).keep().requiresGrad_();
      const optimizer = new make([{ parameters: [['x', x]], weightDecay: 0 }], { lr });
      engine().scope(() => {
        mul(x, x).backward();
        optimizer.step();
      });
      found.push(await x.item());
      optimizer.free();
    }
    found.forEach((value, i) => expect(value).toBeCloseTo(expected[i], 6));
  }
});

it('metadata that is null is none, as for the safetensors library', () => {
  const header = new TextEncoder().encode('{"__metadata__":null} ');
  const file = new Uint8Array(8 + header.length);
  file[0] = header.length;
  file.set(header, 8);
  expect(parseSafetensors(file).metadata.size).toBe(0);
});
