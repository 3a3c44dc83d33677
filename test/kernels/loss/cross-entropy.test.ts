import { describe, expect, it } from 'vitest';
import { crossEntropy } from '../../../engine/node.ts';
import { crossEntropyReference } from '../../../kernels/loss/cross-entropy/reference.ts';
import { DISTILLATION_EXAMPLE, LOSS_CASES } from '../../cases/losses.ts';
import { expectClose } from '../../support/close.ts';
import { leaf } from '../../support/engine.ts';
import { expectLoss, labelsOf } from '../../support/losses.ts';
import { PROFILES, useEngineAs } from '../../support/device-profiles.ts';

describe.each(PROFILES)('crossEntropy on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  const cases = LOSS_CASES.filter(({ width }) => width * 4 * 64 <= (claims.maxBindingSize ?? Infinity));

  it('cross-entropy with labels, plain and smoothed', async () => {
    for (const { name, rows, width, logits } of cases) {
      const labels = labelsOf(rows, width);
      const given = engine().tensor(labels, [rows], 'i32');
      for (const labelSmoothing of [0, 0.1]) {
        const z = leaf(engine(), logits, [rows, width]);
        const problem = { rows, width, smoothing: labelSmoothing };
        const { loss, dlogits } = crossEntropyReference(problem, logits, labels);
        await expectLoss(
          crossEntropy(z, given, { labelSmoothing }),
          z,
          { loss, gradient: dlogits },
          `${name}, smoothing ${labelSmoothing}`,
        );
      }
    }
  });
});

describe('crossEntropy, the worked example of distillation', () => {
  const engine = useEngineAs({});
  const { cls: zc, labels: y } = DISTILLATION_EXAMPLE;
  const z = (data: readonly number[]) => leaf(engine(), data, [2, 4]);
  const labels = () => engine().tensor(y, [2], 'i32');
  const close = (found: number, expected: number) => expect(Math.abs(found / expected - 1)).toBeLessThan(1e-6);
  const closeAll = (found: ArrayLike<number>, factor: number, expected: number[]) =>
    expectClose(
      Array.from(found, (g) => g * factor),
      expected,
      5e-7,
    );

  it('cross-entropy of the class head and its gradient', async () => {
    const logits = z(zc);
    const loss = crossEntropy(logits, labels());
    loss.backward();
    close(await loss.item(), 0.4930980443);
    closeAll(
      await logits.grad!.read(),
      0.5,
      [-0.089021435, 0.0592207045, 0.0217860797, 0.0080146508, 0.0532743261, 0.0323125121, -0.1051853675, 0.0195985293],
    );
  });

  it('smoothed labels', async () => {
    close(await crossEntropy(z(zc), labels(), { labelSmoothing: 0.1 }).item(), 0.6243480443);
  });
});

describe('edges of crossEntropy', () => {
  const engine = useEngineAs({});

  it('a label that is no class makes the loss NaN', async () => {
    for (const label of [-1, 4, 2 ** 31 - 1]) {
      const labels = engine().tensor([1, label], [2], 'i32');
      const logits = engine().tensor([0, 1, 0, 0, 0, 0, 0, 0], [2, 4]);
      expect(await crossEntropy(logits, labels).item()).toBeNaN();
    }
  });

  it('NaN among the logits reaches the loss', async () => {
    const logits = engine().tensor([NaN, NaN, NaN, NaN], [1, 4]);
    const labels = engine().tensor([0], [1], 'i32');
    expect(await crossEntropy(logits, labels).item()).toBeNaN();
    // One, and not that of the label.
    const one = engine().tensor([1, 2, NaN, 3], [1, 4]).requiresGrad_();
    const loss = crossEntropy(one, labels);
    loss.backward();
    expect(await loss.item()).toBeNaN();
    expect([...(await one.grad!.read())].every(Number.isNaN)).toBe(true);
  });

  it('a loss far from certain and one nearly certain keep their digits', async () => {
    const sure = engine().tensor([12, 0, 0], [1, 3]);
    const label = (y: number) => engine().tensor([y], [1], 'i32');
    // log(1 + 2 exp(-12)): the sum is rounded twice, by up to 6e-8.
    expect(Math.abs((await crossEntropy(sure, label(0)).item()) - Math.log1p(2 * Math.exp(-12)))).toBeLessThan(1.2e-7);
    expectClose([await crossEntropy(sure, label(1)).item()], [12 + Math.log1p(2 * Math.exp(-12))], 1e-7);
  });

  it('mistakes are named', () => {
    const gpu = engine();
    const [z, labels] = [gpu.zeros([2, 3]), gpu.tensor([0, 1], [2], 'i32')];
    expect(() => crossEntropy(gpu.zeros([6]), labels)).toThrow(/two dimensions/);
    expect(() => crossEntropy(z, gpu.zeros([2]))).toThrow(/Labels are i32/);
    expect(() => crossEntropy(z, gpu.tensor([0], [1], 'i32'))).toThrow(/labels does not fit/);
    expect(() => crossEntropy(z, labels, { labelSmoothing: 2 })).toThrow(/from 0 to 1/);
  });
});
