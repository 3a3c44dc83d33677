import { describe, expect, it } from 'vitest';
import { adamWSkipped, scalerStep } from '../../../kernels/optimizer/grad-scaler/index.ts';
import { adamWSkippedReference, scalerReference } from '../../../kernels/optimizer/grad-scaler/reference.ts';
import type { ScalerState } from '../../../kernels/optimizer/grad-scaler/reference.ts';
import { expectClose } from '../../support/close.ts';
import { useEngine } from '../../support/engine.ts';

const engine = useEngine();
const RULE = { growth: 2, backoff: 0.5, interval: 3 };
const fresh: ScalerState = { norm: [8, 0, 0, 0], scale: 4, tracker: 0, skipped: 0, guard: 0 };

describe.each([
  { guard: false, permanent: false },
  { guard: true, permanent: false },
  { guard: true, permanent: true },
])('loss scaling, guard: $guard, faults for good: $permanent', (options) => {
  it.each<{ name: string; state: Partial<ScalerState> }>([
    { name: 'a good step', state: {} },
    { name: 'the step at which the scale grows', state: { tracker: 2 } },
    { name: 'growth that would overflow', state: { tracker: 2, scale: 2 ** 127 } },
    { name: 'a gradient that is not finite', state: { norm: [8, 5, 0, 0], tracker: 1 } },
    { name: 'a gradient that is not finite, at scale 1', state: { norm: [8, 5, 0, 0], scale: 1, skipped: 6 } },
    { name: 'a loss that is not finite', state: { guard: 2, tracker: 2 } },
  ])('$name', async ({ state }) => {
    const gpu = engine();
    const before = { ...fresh, ...state };
    const { norm, ...single } = before;
    const tensors = {
      norm: gpu.tensor(norm),
      ...Object.fromEntries(Object.entries(single).map(([name, value]) => [name, gpu.tensor([value])])),
    };
    const problem = { ...RULE, ...options };
    gpu.run('test', scalerStep, problem, tensors);
    const expected = scalerReference(problem, before);
    for (const [name, tensor] of Object.entries(tensors)) {
      // Powers of two and small whole numbers: exact.
      const wanted = expected[name as keyof ScalerState];
      expect(Array.from(await tensor.read()), name).toEqual([wanted].flat());
    }
  });
});

it('AdamW corrects its bias by the steps that were taken', async () => {
  const gpu = engine();
  for (const [all, skipped] of [
    [10, 3],
    [4000, 1],
    [2, 2],
    [7, 0],
  ]) {
    const hyper = gpu.tensor([1, 2, 3, 4, 5, 6, 7, 8, all, 0, 0, 0], [3, 4]);
    gpu.run('test', adamWSkipped, { groups: 2, beta1: 0.9, beta2: 0.999 }, { hyper, skipped: gpu.tensor([skipped]) });
    const [rate, root] = adamWSkippedReference(0.9, 0.999, all, skipped);
    const expected = [1, 2 * rate, 3 * root, 4, 5, 6 * rate, 7 * root, 8, all, 0, 0, 0];
    // The logarithms of the decays are rounded, and exp and the series are good to a few units in the last place.
    expectClose(await hyper.read(), expected, 5e-7, `${skipped} of ${all}`);
  }
});
