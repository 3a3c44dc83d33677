/** Weights of classes in the loss against torch 2.15: `F.cross_entropy(logits, target, weight=W, label_smoothing=...)`, float32. */
import { describe, expect, it } from 'vitest';
import { parseClassWeights, weightTarget } from '../../deit/class-weights.ts';
import { distillationLoss } from '../../deit/distillation.ts';
import type { Target } from '../../deit/distillation.ts';
import { expectClose } from '../support/close.ts';
import { leaf, useEngine } from '../support/engine.ts';

const engine = useEngine();

const SHAPE = [5, 4];
const LOGITS = [-2.252, -2.305, -0.501, -0.868, 1.198, -3.11, -0.683, 3.706, 0.936, -0.315, 2.887, 0.532, 2.779, 3.173, 1.893, -1.687, 1.864, 2.518, 4.01, 0.107]; // prettier-ignore
const LABELS = [0, 3, 1, 1, 2];
const W = [0.5, 1, 2, 4];
const DISTRIBUTION = [0.7, 0.1, 0.1, 0.1, 0, 0.4, 0.6, 0, 0.25, 0.25, 0.25, 0.25, 0, 0, 0, 1, 0.05, 0.8, 0.05, 0.1]; // prettier-ignore
/** Loss and gradient of the logits. */
const TORCH = {
  labels: [0.744782, [-0.0537957, 0.004768298, 0.02896215, 0.02006526, 0.03499775, 0.0004710853, 0.005334973, -0.04080382, 0.01308704, -0.1139013, 0.09207678, 0.008737488, 0.04047451, -0.05762739, 0.0166877, 0.0004651813, 0.02020321, 0.03885519, -0.06254471, 0.003486304]],
  smoothed: [0.9354935, [-0.04800127, 0.003138403, 0.03104438, 0.01381849, 0.0316679, -0.002495118, -0.0008308006, -0.02834201, 0.01276157, -0.10475, 0.09425114, -0.002262688, 0.04254544, -0.04355213, 0.01226552, -0.01125882, 0.01860635, 0.03567117, -0.04597733, -0.008300192]],
  distribution: [7.806232, [-0.05205063, -0.002977177, 0.06339486, -0.008367042, 0.02379847, -0.07967967, -0.2363722, 0.2922534, 0.01671495, -0.03806042, 0.1934947, -0.1721493, 0.2752267, 0.4081337, 0.1134764, -0.7968368, 0.01775387, -0.1162393, 0.174559, -0.07607356]],
} as const; // prettier-ignore
/** Half of the smoothed loss, and half of the cross-entropy of other logits with a teacher's decisions, which has no weights. */
const HARD = {
  loss: 1.812272,
  dist: [3.018, 4.164, 3.413, 4.761, 3.883, 1.583, -0.041, -0.874, 3.292, -2.72, 0.689, 1.04, -0.731, -2.605, 0.199, 0.884, 0.494, 0.154, 0.676, 0.909],
  teacher: [0.879, 0.225, 1.282, 0.882, 0.411, -0.901, -1.146, -1.111, 1.189, 3.084, 1.015, -1.182, -2.651, 0.377, -0.138, -0.99, -2.992, -0.388, 0.891, 2.651],
  gradient: [-0.02400064, 0.001569201, 0.01552219, 0.006909246, 0.01583395, -0.001247559, -0.0004154003, -0.014171, 0.006380786, -0.05237501, 0.04712557, -0.001131344, 0.02127272, -0.02177607, 0.006132762, -0.005629411, 0.009303177, 0.01783559, -0.02298866, -0.004150096],
  distGradient: [0.008814896, 0.02772801, -0.08691531, 0.0503724, -0.01139559, 0.008883376, 0.001750991, 0.0007612312, 0.08462465, -0.09979274, 0.006266547, 0.008901551, 0.01147328, -0.09823876, 0.02907912, 0.05768635, 0.02259501, 0.01608246, 0.0271053, -0.06578278],
}; // prettier-ignore

/** Relative to the largest value; both sides compute in f32 over four classes: a few roundings of 6e-8, summed over the batch. */
const TOLERANCE = 2e-6;

describe('class weights in the loss', () => {
  const targets = (): Record<keyof typeof TORCH, Target> => {
    const labels = engine().tensor(LABELS, [5], 'i32');
    return {
      labels: { labels, smoothing: 0 },
      smoothed: { labels, smoothing: 0.1 },
      distribution: { distribution: engine().tensor(DISTRIBUTION, SHAPE) },
    };
  };

  it.each(Object.keys(TORCH) as (keyof typeof TORCH)[])('are those of PyTorch: %s', async (name) => {
    const logits = leaf(engine(), LOGITS, SHAPE);
    const target = weightTarget(targets()[name], engine().tensor(W, [4]));
    const none = { type: 'none', alpha: 0, tau: 1, scaling: 'all' } as const;
    const { total } = distillationLoss(none, { cls: logits, dist: null }, target, null);
    total.backward();
    const [loss, gradient] = TORCH[name];
    expectClose(await total.read(), [loss], TOLERANCE);
    expectClose(await logits.grad!.read(), gradient, TOLERANCE);
  });

  it('weigh the term of the labels alone under hard distillation', async () => {
    const [cls, dist] = [leaf(engine(), LOGITS, SHAPE), leaf(engine(), HARD.dist, SHAPE)];
    const target = weightTarget(targets().smoothed, engine().tensor(W, [4]));
    const hard = { type: 'hard', alpha: 0.5, tau: 1, scaling: 'all' } as const;
    const { total } = distillationLoss(hard, { cls, dist }, target, engine().tensor(HARD.teacher, SHAPE));
    total.backward();
    expectClose(await total.read(), [HARD.loss], TOLERANCE);
    expectClose(await cls.grad!.read(), HARD.gradient, TOLERANCE);
    expectClose(await dist.grad!.read(), HARD.distGradient, TOLERANCE);
  });
});

describe('data.classWeights', () => {
  const parse = (text: string): number[] => parseClassWeights(text, ['ant', 'bee', 'a=b'], [6, 3, 1]);

  it('is balanced as in scikit-learn, or numbers by place or name', () => {
    // n / (classes * counts): 10 / 18, 10 / 9, 10 / 3.
    parse('balanced').forEach((weight, i) => expect(weight).toBeCloseTo([10 / 18, 10 / 9, 10 / 3][i], 12));
    expect(parse('1, 2.5,1e-1')).toEqual([1, 2.5, 0.1]);
    expect(parse('bee=3')).toEqual([1, 3, 1]);
    expect(parse('a=b=4, ant = 0.5')).toEqual([0.5, 1, 4]);
  });

  it.each([
    ['1,2', /3 numbers[^]*2: 1,2/],
    ['1,2,zero', /above 0/],
    ['1,2,0', /above 0/],
    ['1,,2', /above 0/],
    ['be=2', /such as bee/],
    ['bee=2,bee=3', /once/],
    ['bee=', /above 0/],
    ['inverse', /balanced, or 3 numbers/],
  ])('refuses %s', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });
});
