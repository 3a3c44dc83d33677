/** Classes that are masked by logits of -infinity: PyTorch's values and gradients (test/golden/masked.py). */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  crossEntropy,
  distillationHardLoss,
  klDistillation,
  distilledCrossEntropy,
  logSoftmax,
  mul,
  softTargetCrossEntropy,
  softmax,
  sum,
} from '../../../engine/node.ts';
import type { Tensor } from '../../../engine/node.ts';
import { useEngine } from '../../support/engine.ts';

interface Case {
  readonly kind: 'crossEntropy' | 'softTarget' | 'kl' | 'logSoftmax' | 'softmax';
  readonly label?: number;
  readonly smoothing?: number;
  readonly targets?: number[];
  readonly tau?: number;
  readonly teacher?: (number | string)[];
  readonly logits: (number | string)[];
  readonly y: (number | string)[];
  readonly dlogits: (number | string)[];
}

const words: Readonly<Record<string, number>> = { inf: Infinity, '-inf': -Infinity, nan: NaN };
const parse = (values: readonly (number | string)[]): number[] =>
  values.map((value) => (typeof value === 'number' ? value : words[value]));
const path = new URL('../../golden/masked.json', import.meta.url);
const cases = JSON.parse(readFileSync(path, 'utf8')) as Case[];
const engine = useEngine();

/** Values of order 1 through exp and log in f32: a few units in the last place each. */
const TOLERANCE = 2e-6;

function expectSame(found: ArrayLike<number>, expected: readonly number[], what: string): void {
  expected.forEach((value, i) => {
    if (Number.isFinite(value)) expect(Math.abs(found[i] - value), `${what} ${i}: ${found[i]}`).toBeLessThan(TOLERANCE);
    else expect(found[i], `${what} ${i}`).toBe(value);
  });
}

/** Value and gradient of `work` at the logits, which are a row twice: the mean over rows is that of one. */
async function differentiated(
  logits: readonly number[],
  rows: number,
  work: (z: Tensor) => Tensor,
): Promise<ArrayLike<number>[]> {
  const own = engine();
  const z = own
    .tensor(Array.from({ length: rows }, () => logits).flat(), [rows, logits.length])
    .keep()
    .requiresGrad_();
  return Promise.all(
    own.scope(() => {
      const y = work(z);
      (y.rank === 0 ? y : sum(mul(y, own.tensor(logits.map((_, i) => i + 1))))).backward();
      return [y.read(), z.grad!.read()];
    }),
  );
}

describe('masked classes', () => {
  for (const [i, c] of cases.entries()) {
    const { kind, label, smoothing, targets, tau } = c;
    it(`${i}: ${kind} of ${c.logits.length}, ${JSON.stringify({ label, smoothing, tau })}`, async () => {
      const logits = parse(c.logits);
      const shape = [1, logits.length];
      const own = engine();
      const [y, dz] = await differentiated(logits, 1, (z) => {
        switch (kind) {
          case 'crossEntropy':
            return crossEntropy(z, own.tensor([label!], [1], 'i32'), { labelSmoothing: smoothing });
          case 'softTarget':
            return softTargetCrossEntropy(z, own.tensor(targets!, shape));
          case 'kl':
            return klDistillation(z, own.tensor(parse(c.teacher!), shape), { tau: tau! });
          case 'logSoftmax':
            return logSoftmax(z);
          case 'softmax':
            return softmax(z);
        }
      });
      expectSame(y, parse(c.y), 'value');
      expectSame(dz, parse(c.dlogits), 'gradient');
    });
  }

  for (const c of cases.filter(({ kind }) => kind === 'crossEntropy' || kind === 'softTarget')) {
    const { label, smoothing = 0, targets } = c;
    it(`both heads at once: ${JSON.stringify({ label, smoothing, targets })}`, async () => {
      const logits = parse(c.logits);
      const own = engine();
      const teacher = own
        .tensor(
          logits.map((_, i) => (i === 0 ? 1 : 0)),
          [1, logits.length],
        )
        .keep();
      const hard = cases.find(
        (one) =>
          one.kind === 'crossEntropy' && one.label === 0 && one.smoothing === 0 && one.logits.length === logits.length,
      )!;
      const target = targets ? own.tensor(targets, [1, logits.length]) : own.tensor([label!], [1], 'i32');
      target.keep();
      let distillation!: Promise<number>;
      const [y, dz] = await differentiated(logits, 1, (z) => {
        const losses = distilledCrossEntropy(z, z, target, teacher, { labelSmoothing: smoothing });
        distillation = losses.distillation.item();
        return losses.total;
      });
      expectSame([await distillation], parse(hard.y), 'distillation');
      expectSame(y, [0.5 * parse(c.y)[0] + 0.5 * parse(hard.y)[0]], 'total');
      const expected = parse(c.dlogits).map((value, i) => 0.5 * value + 0.5 * parse(hard.dlogits)[i]);
      expectSame(dz, expected, 'gradient');
    });
  }

  it('hard distillation of one head is the cross-entropy with the decision of the teacher', async () => {
    const [hard] = cases;
    const [y, dz] = await differentiated(parse(hard.logits), 2, (z) =>
      distillationHardLoss(z, engine().tensor([1, 0, 0, 1, 0, 0], [2, 3])),
    );
    expectSame(y, parse(hard.y), 'value');
    const half = parse(hard.dlogits).map((value) => value / 2);
    expectSame(dz, [...half, ...half], 'gradient');
  });

  it('logits whose sum is beyond f32 do not spoil a loss without smoothing, and all masked gives NaN', async () => {
    // exp(-2e38) is 0: the loss is log(1). All masked is 0 / 0 in PyTorch too.
    const own = engine();
    const loss = (logits: number[]): Promise<number> =>
      own.scope(() => crossEntropy(own.tensor([logits]), own.tensor([0], [1], 'i32')).item());
    expect(await loss([0, -2e38, -2e38])).toBe(0);
    expect(await loss([0, -2e38, -2e38, -2e38])).toBe(0);
    expect(await loss([-Infinity, -Infinity, -Infinity])).toBeNaN();
    expect(await loss([-Infinity, -Infinity, -Infinity, -Infinity])).toBeNaN();
  });
});
