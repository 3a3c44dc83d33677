import { describe, expect, it } from 'vitest';
import { distillationLoss } from '../../../deit/distillation.ts';
import type { Target } from '../../../deit/distillation.ts';
import { distilledCrossEntropy } from '../../../engine/node.ts';
import type { DistilledLosses, Engine, Tensor } from '../../../engine/node.ts';
import { crossEntropyReference } from '../../../kernels/loss/cross-entropy/reference.ts';
import { distilledReference } from '../../../kernels/loss/distilled-cross-entropy/reference.ts';
import { softmaxReference } from '../../../kernels/softmax/reference.ts';
import { DISTILLATION_EXAMPLE, LOSS_CASES } from '../../cases/losses.ts';
import { expectClose, uniform } from '../../support/close.ts';
import { labelsOf } from '../../support/losses.ts';
import { PROFILES, useEngineAs } from '../../support/device-profiles.ts';

// As in support/losses.ts: f32 exponentials within a few units in the last place of 6e-8, and sums of a thousand of them.
const TOLERANCE = 1e-6;

const leaf = (gpu: Engine, data: ArrayLike<number>, shape: readonly number[]): Tensor =>
  gpu.tensor(data, shape).requiresGrad_();

/** Distance of two vectors, in units of the expected one's norm or of `least`, if that is larger. */
function distance(found: ArrayLike<number>, expected: readonly number[] | Float64Array, least: number): number {
  return Math.hypot(...expected.map((value, i) => value - found[i])) / Math.max(Math.hypot(...expected), least);
}

/** All three losses, and both gradients for an upstream gradient of 0.5, against float64. */
async function check(
  { total, label, distillation }: DistilledLosses,
  heads: { cls: Tensor; dist: Tensor },
  expected: ReturnType<typeof distilledReference>,
  what: string,
): Promise<void> {
  total.backward(total.engine.full([], 0.5));
  const losses = [
    [label, expected.label],
    [distillation, expected.distillation],
    [total, expected.total],
  ] as const;
  for (const [loss, value] of losses) {
    expect(loss.shape).toEqual([]);
    expect(distance([await loss.item()], [value], 1), what).toBeLessThan(TOLERANCE);
  }
  const gradients = [
    [heads.cls, expected.dcls],
    [heads.dist, expected.ddist],
  ] as const;
  for (const [head, values] of gradients) {
    const halved = values.map((value) => 0.5 * value);
    expect(distance(await head.grad!.read(), halved, 0.05), `${what}, gradient`).toBeLessThan(TOLERANCE);
  }
}

describe.each(PROFILES)('both heads of a distilled model on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  const cases = LOSS_CASES.filter(({ width }) => width * 4 * 64 <= (claims.maxBindingSize ?? Infinity));

  it.each(cases)('$name', async ({ rows, width, logits, other }) => {
    const shape = [rows, width];
    const teacher = uniform(rows * width, 7, 2);
    const labels = labelsOf(rows, width);
    const mixed = uniform(rows * width, 3, 1 / width).map(Math.abs);
    for (const [alpha, labelSmoothing] of [
      [0.5, 0],
      [0.3, 0.1],
      [0.8, null],
    ] as const) {
      const isMixed = labelSmoothing === null;
      const heads = { cls: leaf(engine(), logits, shape), dist: leaf(engine(), other, shape) };
      const target = isMixed ? engine().tensor(mixed, shape) : engine().tensor(labels, [rows], 'i32');
      const found = distilledCrossEntropy(heads.cls, heads.dist, target, engine().tensor(teacher, shape), {
        alpha,
        labelSmoothing: labelSmoothing ?? 0,
      });
      const expected = distilledReference(
        { rows, width, target: isMixed ? 'distribution' : 'labels', smoothing: labelSmoothing ?? 0, alpha },
        { cls: logits, dist: other, target: isMixed ? mixed : labels, teacher },
      );
      await check(found, heads, expected, isMixed ? 'mixed' : `smoothing ${labelSmoothing}`);
    }
  });
});

describe('hard distillation', () => {
  const engine = useEngineAs({});
  const shape = [2, 4];
  const { cls: zc, dist: zd, teacher: zt } = DISTILLATION_EXAMPLE;
  const hard = { type: 'hard', alpha: 0.5, tau: 1, scaling: 'all' } as const;
  const teacher = (): Tensor => engine().tensor(zt, shape);
  const target = (): Target => ({ labels: engine().tensor([0, 2], [2], 'i32'), smoothing: 0 });

  // Two rows, four classes: values to ten digits, computed in float64 from DeiT's formulas. Float32 keeps seven.
  it('gives the worked example', async () => {
    const heads = { cls: leaf(engine(), zc, shape), dist: leaf(engine(), zd, shape) };
    const { total, label, distillation } = distillationLoss(hard, heads, target(), teacher());
    total.backward();
    const losses = await Promise.all([total, label, distillation!].map((loss) => loss.item()));
    const expected = [1.0266327932, 0.4930980443, 1.560167542];
    losses.forEach((loss, i) => expectClose([loss], [expected[i]], 2e-7));
    expectClose(
      await heads.cls.grad!.read(),
      [-0.089021435, 0.0592207045, 0.0217860797, 0.0080146508, 0.0532743261, 0.0323125121, -0.1051853675, 0.0195985293],
      5e-7,
    );
    // alpha (softmax(z_d) - onehot) / B, where the teacher decides for classes 0 and 2.
    const { y: softmax } = softmaxReference({ outer: 2, width: 4, inner: 1, log: false }, zd, zd);
    const decided = [1, 0, 0, 0, 0, 0, 1, 0];
    const ofDist = softmax.map((p, i) => (p - decided[i]) / 4);
    expectClose(await heads.dist.grad!.read(), ofDist, 5e-7);
  });

  it('teaches the only head of a student without token both terms', async () => {
    const cls = leaf(engine(), zc, shape);
    const { total } = distillationLoss({ ...hard, alpha: 0.25 }, { cls, dist: null }, target(), teacher());
    total.backward();
    // The teacher's decisions happen to be the labels: the terms are the same, whatever their weights.
    const { loss, dlogits } = crossEntropyReference({ rows: 2, width: 4, smoothing: 0 }, zc, [0, 2]);
    expectClose([await total.item()], [loss], TOLERANCE);
    expectClose(await cls.grad!.read(), dlogits, TOLERANCE);
  });

  it('takes two kernels forward and one backward', () => {
    for (const distribution of [null, engine().full(shape, 0.25)]) {
      const kernels: string[] = [];
      const heads = { cls: leaf(engine(), zc, shape), dist: leaf(engine(), zd, shape) };
      const own = distribution ? { distribution } : target();
      engine().observe(
        ({ kernel }) => kernels.push(kernel),
        () => distillationLoss(hard, heads, own, teacher()).total.backward(engine().full([], 1)),
      );
      expect(kernels.filter((name) => name !== 'fill').map((name) => name.split('/')[0])).toEqual([
        'distilled_cross_entropy.forward',
        'distilled_cross_entropy.total',
        'distilled_cross_entropy.backward',
      ]);
    }
  });

  it('has a gradient through the total alone, for the heads that want one', async () => {
    const [cls, dist] = [leaf(engine(), zc, shape), engine().tensor(zd, shape)];
    const { labels } = target() as { labels: Tensor };
    const { total, label, distillation } = distilledCrossEntropy(cls, dist, labels, teacher());
    expect([total, label, distillation].map((loss) => loss.requiresGrad)).toEqual([true, false, false]);
    total.backward();
    expect(dist.grad).toBeNull();
    expect(Math.abs((await cls.grad!.read())[0] + 0.089021435)).toBeLessThan(1e-7);
  });

  it('follows the first of equal logits of the teacher', async () => {
    for (const width of [5, 8]) {
      const equal = new Float32Array(width).fill(1.5);
      equal[0] = 0;
      const logits = uniform(width, 1);
      const z = engine().tensor(logits, [1, width]);
      const labels = engine().tensor([0], [1], 'i32');
      const { distillation } = distilledCrossEntropy(z, z, labels, engine().tensor(equal, [1, width]));
      const { loss } = crossEntropyReference({ rows: 1, width, smoothing: 0 }, logits, [1]);
      expectClose([await distillation.item()], [loss], TOLERANCE);
    }
  });

  it('shows in which term a label that is no class, or NaN, is', async () => {
    const losses = async (cls: number[], dist: number[], label: number, decisions = zt): Promise<boolean[]> => {
      const [c, d, t] = [cls, dist, decisions].map((data) => engine().tensor(data, shape));
      const found = distilledCrossEntropy(c, d, engine().tensor([0, label], [2], 'i32'), t);
      const values = [found.total, found.label, found.distillation].map((loss) => loss.item());
      return (await Promise.all(values)).map((value) => Number.isNaN(value));
    };
    const withNaN = (data: number[]): number[] => data.map((value, i) => (i === 5 ? NaN : value));
    expect(await losses(zc, zd, 2)).toEqual([false, false, false]);
    for (const label of [-1, 4, 2 ** 31 - 1]) expect(await losses(zc, zd, label)).toEqual([true, true, false]);
    expect(await losses(withNaN(zc), zd, 2)).toEqual([true, true, false]);
    expect(await losses(zc, withNaN(zd), 2)).toEqual([true, false, true]);
    expect(
      await losses(
        zc,
        zd,
        2,
        zt.map(() => NaN),
      ),
    ).toEqual([true, false, true]);
  });

  it('names mistakes', () => {
    const [z, t] = [engine().zeros(shape), teacher()];
    const { labels } = target() as { labels: Tensor };
    expect(() => distilledCrossEntropy(z, engine().zeros([2, 5]), labels, t)).toThrow(/distillation head does not fit/);
    expect(() => distilledCrossEntropy(z, z, labels, engine().zeros([3, 4]))).toThrow(/teacher does not fit/);
    expect(() => distilledCrossEntropy(z, z, engine().zeros([2]), t)).toThrow(/Labels are i32/);
    expect(() => distilledCrossEntropy(z, z, engine().zeros([2, 3]), t)).toThrow(/targets does not fit/);
    expect(() => distilledCrossEntropy(z, z, labels, t, { alpha: 1.5 })).toThrow(/Alpha is a number from 0 to 1/);
    expect(() => distilledCrossEntropy(z, z, labels, t, { labelSmoothing: -1 })).toThrow(/Label smoothing is a number/);
    expect(() => distilledCrossEntropy(z, z, z, t, { labelSmoothing: 0.1 })).toThrow(/Only labels are smoothed/);
    const wanting = leaf(engine(), zt, shape);
    expect(() => distilledCrossEntropy(z, z, labels, wanting)).toThrow(/no gradient with respect to the teacher/);
    expect(() => distilledCrossEntropy(z, z, wanting, t)).toThrow(/no gradient with respect to the targets/);
  });
});
