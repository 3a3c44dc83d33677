import { describe, expect, it } from 'vitest';
import { countCorrect, crossEntropy, klDistillation, softTargetCrossEntropy } from '../../../engine/node.ts';
import type { Engine, Tensor } from '../../../engine/node.ts';
import { LOSS_CASES } from '../../cases/losses.ts';
import { expectClose, uniform } from '../../support/close.ts';
import { crossEntropy64, labelsOf, logSoftmax64, rowsOf, smoothed, sum } from '../../support/loss-reference.ts';
import { PROFILES, useEngineAs } from '../../support/device-profiles.ts';

// f32 exponentials within a few units in the last place of 6e-8, and sums of a thousand of them.
const TOLERANCE = 1e-6;

const leaf = (gpu: Engine, data: ArrayLike<number>, shape: readonly number[]): Tensor =>
  gpu.tensor(data, shape).requiresGrad_();

function kl64(
  student: number[][],
  teacher: number[][],
  tau: number,
  divisor: number,
): { loss: number; gradient: number[] } {
  const [p, q] = [student.map((row) => logSoftmax64(row, tau)), teacher.map((row) => logSoftmax64(row, tau))];
  const rows = q.map((row, r) => sum(row.map((log, c) => Math.exp(log) * (log - p[r][c]))));
  return {
    loss: (tau * tau * sum(rows)) / divisor,
    gradient: p.flatMap((row, r) => row.map((log, c) => (tau * (Math.exp(log) - Math.exp(q[r][c]))) / divisor)),
  };
}

/** Loss and gradient for an upstream gradient of 0.5, against the reference; what is nearly zero absolutely. */
async function check(
  loss: Tensor,
  logits: Tensor,
  expected: { loss: number; gradient: number[] },
  what: string,
  terms = 1,
): Promise<void> {
  loss.backward(loss.engine.full([], 0.5));
  expect(loss.shape).toEqual([]);
  expect(Math.abs((await loss.item()) - expected.loss), what).toBeLessThan(
    TOLERANCE * Math.max(terms, Math.abs(expected.loss)),
  );
  const gradient = await logits.grad!.read();
  const norm = Math.hypot(...expected.gradient);
  const difference = Math.hypot(...expected.gradient.map((g, i) => 0.5 * g - gradient[i]));
  expect(difference, `${what}, gradient`).toBeLessThan(TOLERANCE * Math.max(norm, 0.1));
}

describe.each(PROFILES)('losses on $name', ({ claims }) => {
  const engine = useEngineAs(claims);
  const cases = LOSS_CASES.filter(({ width }) => width * 4 * 64 <= (claims.maxBindingSize ?? Infinity));

  it('cross-entropy with labels, plain and smoothed', async () => {
    for (const { name, rows, width, logits } of cases) {
      const labels = labelsOf(rows, width);
      const given = engine().tensor(labels, [rows], 'i32');
      for (const labelSmoothing of [0, 0.1]) {
        const z = leaf(engine(), logits, [rows, width]);
        const targets = labels.map((label) => smoothed(label, width, labelSmoothing));
        const expected = crossEntropy64(rowsOf(logits, width), targets);
        await check(crossEntropy(z, given, { labelSmoothing }), z, expected, `${name}, smoothing ${labelSmoothing}`);
      }
    }
  });

  it('cross-entropy with target distributions', async () => {
    for (const { name, rows, width, logits } of cases) {
      const z = leaf(engine(), logits, [rows, width]);
      const t = uniform(rows * width, 3, 1 / width).map(Math.abs);
      const loss = softTargetCrossEntropy(z, engine().tensor(t, [rows, width]));
      await check(loss, z, crossEntropy64(rowsOf(logits, width), rowsOf(t, width)), name);
    }
  });

  it('soft distillation at several temperatures, in both scalings', async () => {
    for (const { name, rows, width, logits, other } of cases) {
      for (const [tau, scaling] of [
        [1, 'batchmean'],
        [3, 'batchmean'],
        [2, 'all'],
      ] as const) {
        const z = leaf(engine(), logits, [rows, width]);
        const divisor = scaling === 'all' ? rows * width : rows;
        const expected = kl64(rowsOf(logits, width), rowsOf(other, width), tau, divisor);
        const loss = klDistillation(z, engine().tensor(other, [rows, width]), { tau, scaling });
        await check(loss, z, expected, `${name}, tau ${tau}, ${scaling}`, tau * tau);
      }
    }
  });

  it('top-k hits', async () => {
    for (const { name, rows, width, other } of cases) {
      const labels = labelsOf(rows, width);
      for (const k of [1, 5]) {
        const hits = rowsOf(other, width).filter((row, r) => {
          const order = row.map((_, c) => c).sort((a, b) => row[b] - row[a] || a - b);
          return order.slice(0, k).includes(labels[r]);
        });
        const count = countCorrect(engine().tensor(other, [rows, width]), engine().tensor(labels, [rows], 'i32'), k);
        expect(await count.item(), `${name}, top ${k}`).toBe(hits.length);
      }
    }
  });
});

/**
 * Two rows, four classes: values to ten digits, computed in float64 from DeiT's formulas. f32 keeps six to seven of them:
 * a divergence is a small difference of logarithms of order 1.
 */
describe('the worked example of distillation', () => {
  const engine = useEngineAs({});
  const zc = [2, 1, 0, -1, 0.5, 0, 1.5, -0.5];
  const zd = [1, 2, 0, 0, 0, 1, 1, 2];
  const zt = [3, 1, 0, 0, 0, 0, 2, 1];
  const y = [0, 2];
  const z = (data: number[]) => leaf(engine(), data, [2, 4]);
  const labels = () => engine().tensor(y, [2], 'i32');
  const teacher = () => engine().tensor(zt, [2, 4]);
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

  it('smoothed and mixed targets', async () => {
    close(await crossEntropy(z(zc), labels(), { labelSmoothing: 0.1 }).item(), 0.6243480443);
    const smooth = y.flatMap((label) => smoothed(label, 4, 0.1));
    close(await softTargetCrossEntropy(z(zc), engine().tensor(smooth, [2, 4])).item(), 0.6243480443);
    const mixed = [0.3, 0, 0.7, 0, 0.7, 0, 0.3, 0].map((t) => 0.9 * t + 0.1 / 4);
    close(await softTargetCrossEntropy(z(zc), engine().tensor(mixed, [2, 4])).item(), 1.5693480443);
  });
});

describe('edges of the losses', () => {
  const engine = useEngineAs({});

  it('the first of equal logits is the hit', async () => {
    for (const width of [5, 8]) {
      const logits = new Float32Array(width).fill(1.5);
      logits[0] = 0;
      const hit = (label: number, k = 1) =>
        countCorrect(engine().tensor(logits, [1, width]), engine().tensor([label], [1], 'i32'), k).item();
      expect([await hit(0), await hit(1), await hit(2), await hit(2, 2), await hit(0, width)]).toEqual([0, 1, 0, 1, 1]);
    }
  });

  it('a label that is no class makes the loss NaN and is never a hit', async () => {
    for (const label of [-1, 4, 2 ** 31 - 1]) {
      const labels = engine().tensor([1, label], [2], 'i32');
      const logits = engine().tensor([0, 1, 0, 0, 0, 0, 0, 0], [2, 4]);
      expect(await crossEntropy(logits, labels).item()).toBeNaN();
      expect(await countCorrect(logits, labels, 4).item()).toBe(1);
    }
  });

  it('NaN among the logits reaches the loss and is no hit', async () => {
    const logits = engine().tensor([NaN, NaN, NaN, NaN], [1, 4]);
    const labels = engine().tensor([0], [1], 'i32');
    expect(await crossEntropy(logits, labels).item()).toBeNaN();
    expect(await countCorrect(logits, labels).item()).toBe(0);
    // One, and not that of the label.
    const one = engine().tensor([1, 2, NaN, 3], [1, 4]).requiresGrad_();
    const loss = crossEntropy(one, labels);
    loss.backward();
    expect(await loss.item()).toBeNaN();
    expect([...(await one.grad!.read())].every(Number.isNaN)).toBe(true);
    expect(await softTargetCrossEntropy(one.detach(), engine().full([1, 4], 0.25)).item()).toBeNaN();
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
    expect(() => softTargetCrossEntropy(z, gpu.zeros([2, 4]))).toThrow(/targets does not fit/);
    expect(() => klDistillation(z, z, { tau: 0 })).toThrow(/positive/);
    expect(() => countCorrect(z, labels, 0)).toThrow(/at least 1/);
    const teacher = leaf(gpu, [1, 2, 3, 4, 5, 6], [2, 3]);
    for (const loss of [klDistillation, softTargetCrossEntropy]) {
      expect(() => loss(z, teacher)).toThrow(/no gradient with respect to/);
      expect(loss(z, teacher.detach()).requiresGrad).toBe(false);
    }
  });
});
