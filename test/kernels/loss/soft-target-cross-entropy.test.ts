import { describe, expect, it } from 'vitest';
import { softTargetCrossEntropy } from '../../../engine/node.ts';
import { smoothedTargets } from '../../../kernels/loss/cross-entropy/reference.ts';
import { softTargetReference } from '../../../kernels/loss/soft-target-cross-entropy/reference.ts';
import { DISTILLATION_EXAMPLE, LOSS_CASES } from '../../cases/losses.ts';
import { uniform } from '../../support/close.ts';
import { leaf } from '../../support/engine.ts';
import { expectLoss } from '../../support/losses.ts';
import { PROFILES, useEngineAs } from '../../support/device-profiles.ts';

describe.each(PROFILES)('softTargetCrossEntropy on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  const cases = LOSS_CASES.filter(({ width }) => width * 4 * 64 <= (claims.maxBindingSize ?? Infinity));

  it('cross-entropy with target distributions', async () => {
    for (const { name, rows, width, logits } of cases) {
      const z = leaf(engine(), logits, [rows, width]);
      const t = uniform(rows * width, 3, 1 / width).map(Math.abs);
      const found = softTargetCrossEntropy(z, engine().tensor(t, [rows, width]));
      const { loss, dlogits } = softTargetReference({ rows, width }, logits, t);
      await expectLoss(found, z, { loss, gradient: dlogits }, name);
    }
  });
});

describe('softTargetCrossEntropy, the worked example of distillation', () => {
  const engine = useEngineAs({});
  const { cls: zc, labels: y } = DISTILLATION_EXAMPLE;
  const z = (data: readonly number[]) => leaf(engine(), data, [2, 4]);
  const close = (found: number, expected: number) => expect(Math.abs(found / expected - 1)).toBeLessThan(1e-6);

  it('smoothed and mixed targets', async () => {
    const smooth = smoothedTargets({ rows: 2, width: 4, smoothing: 0.1 }, y);
    close(await softTargetCrossEntropy(z(zc), engine().tensor(smooth, [2, 4])).item(), 0.6243480443);
    const mixed = [0.3, 0, 0.7, 0, 0.7, 0, 0.3, 0].map((t) => 0.9 * t + 0.1 / 4);
    close(await softTargetCrossEntropy(z(zc), engine().tensor(mixed, [2, 4])).item(), 1.5693480443);
  });
});

describe('edges of softTargetCrossEntropy', () => {
  const engine = useEngineAs({});

  it('NaN among the logits reaches the loss', async () => {
    const logits = engine().tensor([1, 2, NaN, 3], [1, 4]);
    expect(await softTargetCrossEntropy(logits, engine().full([1, 4], 0.25)).item()).toBeNaN();
  });

  it('mistakes are named', () => {
    const gpu = engine();
    const z = gpu.zeros([2, 3]);
    expect(() => softTargetCrossEntropy(z, gpu.zeros([2, 4]))).toThrow(/targets does not fit/);
    const teacher = leaf(gpu, [1, 2, 3, 4, 5, 6], [2, 3]);
    expect(() => softTargetCrossEntropy(z, teacher)).toThrow(/no gradient with respect to/);
    expect(softTargetCrossEntropy(z, teacher.detach()).requiresGrad).toBe(false);
  });
});
