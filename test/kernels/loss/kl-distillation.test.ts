import { describe, expect, it } from 'vitest';
import { crossEntropy, klDistillation } from '../../../engine/node.ts';
import { forwardPlain } from '../../../kernels/loss/kl-distillation/plain.ts';
import { klReference } from '../../../kernels/loss/kl-distillation/reference.ts';
import { DISTILLATION_EXAMPLE, LOSS_CASES } from '../../cases/losses.ts';
import { expectClose } from '../../support/close.ts';
import { leaf } from '../../support/engine.ts';
import { expectLoss } from '../../support/losses.ts';
import { deviceProfiles } from '../../../kernels/lib/device-profiles.ts';
import { PROFILES, useEngineAs } from '../../support/device-profiles.ts';

describe.each(PROFILES)('klDistillation on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  const cases = LOSS_CASES.filter(({ width }) => width * 4 * 64 <= (claims.maxBindingSize ?? Infinity));

  it('soft distillation at several temperatures, in both scalings', async () => {
    for (const { name, rows, width, logits, other } of cases) {
      for (const [tau, scaling] of [
        [1, 'batchmean'],
        [3, 'batchmean'],
        [2, 'all'],
      ] as const) {
        const z = leaf(engine(), logits, [rows, width]);
        const divisor = scaling === 'all' ? rows * width : rows;
        const { loss, dstudent } = klReference({ rows, width, tau, divisor }, logits, other);
        const found = klDistillation(z, engine().tensor(other, [rows, width]), { tau, scaling });
        await expectLoss(found, z, { loss, gradient: dstudent }, `${name}, tau ${tau}, ${scaling}`, tau * tau);
      }
    }
  });
});

/** A divergence is a small difference of logarithms of order 1. */
describe('klDistillation, the worked example of distillation', () => {
  const engine = useEngineAs({});
  const { cls: zc, dist: zd, teacher: zt, labels: y } = DISTILLATION_EXAMPLE;
  const z = (data: readonly number[]) => leaf(engine(), data, [2, 4]);
  const labels = () => engine().tensor(y, [2], 'i32');
  const teacher = () => engine().tensor(zt, [2, 4]);
  const close = (found: number, expected: number) => expect(Math.abs(found / expected - 1)).toBeLessThan(1e-6);
  const closeAll = (found: ArrayLike<number>, factor: number, expected: number[]) =>
    expectClose(
      Array.from(found, (g) => g * factor),
      expected,
      5e-7,
    );

  it('divergences, and the losses made of them', async () => {
    const sums: [number, number][] = [
      [1, 1.2286723819],
      [2, 0.3078383479],
      [3, 0.1290891308],
    ];
    for (const [tau, expected] of sums) {
      close(2 * (await klDistillation(z(zd), teacher(), { tau }).item()), expected * tau * tau);
    }
    const base = await crossEntropy(z(zc), labels()).item();
    close(0.5 * base + 0.5 * (await klDistillation(z(zd), teacher(), { tau: 2 }).item()), 0.55438737);
    close(0.5 * base + 0.5 * (await klDistillation(z(zd), teacher(), { tau: 1, scaling: 'all' }).item()), 0.323341046);
    close(0.9 * base + 0.1 * (await klDistillation(z(zd), teacher(), { tau: 3, scaling: 'all' }).item()), 0.4583107671);
  });

  it('gradient of the distillation head', async () => {
    const logits = z(zd);
    klDistillation(logits, teacher(), { tau: 2 }).backward();
    closeAll(
      await logits.grad!.read(),
      0.5,
      [
        -0.1461388369, 0.1120740957, 0.0170323706, 0.0170323706, -0.0072614034, 0.0389719744, -0.0959644942,
        0.0642539232,
      ],
    );
  });
});

describe('edges of klDistillation', () => {
  const engine = useEngineAs({});

  it('mistakes are named', () => {
    const gpu = engine();
    const z = gpu.zeros([2, 3]);
    expect(() => klDistillation(z, z, { tau: 0 })).toThrow(/positive/);
    const teacher = leaf(gpu, [1, 2, 3, 4, 5, 6], [2, 3]);
    expect(() => klDistillation(z, teacher)).toThrow(/no gradient with respect to/);
    expect(klDistillation(z, teacher.detach()).requiresGrad).toBe(false);
  });
});

it('klDistillation reads both logits, and counts that', () => {
  const [{ cost }] = forwardPlain({ rows: 6, width: 10, tau: 2 }, deviceProfiles.gpu);
  expect(cost.bytes).toBe(2 * 4 * 6 * 10);
});
