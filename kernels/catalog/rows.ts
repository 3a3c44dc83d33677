/** Operators over rows: normalisation, probabilities, reductions, losses. */
import { argmax } from '../argmax/index.ts';
import { topHits } from '../count-correct/index.ts';
import { layerNormBackward, layerNormForward } from '../layer-norm/index.ts';
import { crossEntropyBackward, crossEntropyForward } from '../loss/cross-entropy/index.ts';
import {
  distilledCrossEntropyBackward,
  distilledCrossEntropyForward,
  distilledTotal,
} from '../loss/distilled-cross-entropy/index.ts';
import { klBackward, klForward } from '../loss/kl-distillation/index.ts';
import { scaledSum } from '../loss/scaled-sum.ts';
import { softTargetBackward, softTargetForward } from '../loss/soft-target-cross-entropy/index.ts';
import { reduce, spread, tieGradient, tieMask } from '../reduce/index.ts';
import { softmaxBackward, softmaxForward } from '../softmax/index.ts';
import { of, operator } from './operator.ts';

const logits = { rows: 8, width: 10 };
const mean = (n: number) => of(scaledSum, { n, factor: 1 / n });

export const rowOperators = {
  layer_norm: operator({
    folder: 'layer-norm',
    sizes: { rows: 8, width: 192 },
    options: { eps: 1e-6, weight: true, bias: true, f16: false },
    forward: (p) => [of(layerNormForward, p)],
    backward: (p) => [of(layerNormBackward, { ...p, pending: false, dx: true, affine: p.weight || p.bias })],
  }),
  softmax: operator({
    folder: 'softmax',
    sizes: { outer: 8, width: 197 },
    options: { inner: 1, log: false },
    forward: (p) => [of(softmaxForward, p)],
    backward: (p) => [of(softmaxBackward, p)],
  }),
  argmax: operator({
    folder: 'argmax',
    sizes: { outer: 8, reduce: 1000 },
    options: { inner: 1 },
    forward: (p) => [of(argmax, p)],
  }),
  sum: operator({
    folder: 'reduce',
    sizes: { outer: 8, reduce: 1000 },
    options: { inner: 1, divisor: 1, f16: false },
    forward: (p) => [of(reduce, { op: 'sum', ...p })],
    backward: ({ outer, reduce: width, inner, divisor }) => [
      of(spread, { shape: [outer, width, inner], kept: [outer, 1, inner], divisor }),
    ],
  }),
  amax: operator({
    folder: 'reduce',
    sizes: { outer: 8, reduce: 1000 },
    options: { inner: 1 },
    forward: (p) => [of(reduce, { op: 'amax', ...p })],
    backward: ({ outer, reduce: width, inner }) => {
      const shapes = { shape: [outer, width, inner], kept: [outer, 1, inner] };
      const ties = { op: 'sum', outer, reduce: width, inner } as const;
      return [of(tieMask, shapes), of(reduce, ties), of(tieGradient, shapes)];
    },
  }),
  cross_entropy: operator({
    folder: 'loss/cross-entropy',
    sizes: logits,
    options: { smoothing: 0.1 },
    forward: (p) => [of(crossEntropyForward, p), mean(p.rows)],
    backward: (p) => [of(crossEntropyBackward, p)],
  }),
  soft_target_cross_entropy: operator({
    folder: 'loss/soft-target-cross-entropy',
    sizes: logits,
    forward: (p) => [of(softTargetForward, p), mean(p.rows)],
    backward: (p) => [of(softTargetBackward, p)],
  }),
  kl_distillation: operator({
    folder: 'loss/kl-distillation',
    sizes: logits,
    options: { tau: 3 },
    forward: (p) => [of(klForward, p), mean(p.rows)],
    backward: (p) => [of(klBackward, { ...p, divisor: p.rows })],
  }),
  distilled_cross_entropy: operator({
    folder: 'loss/distilled-cross-entropy',
    sizes: logits,
    options: { target: 'labels' as 'labels' | 'distribution', smoothing: 0.1, alpha: 0.5 },
    choices: { target: ['labels', 'distribution'] },
    forward: (p) => [of(distilledCrossEntropyForward, p), of(distilledTotal, p)],
    backward: (p) => [of(distilledCrossEntropyBackward, p)],
  }),
  count_correct: operator({
    folder: 'count-correct',
    sizes: logits,
    options: { k: 5 },
    forward: (p) => [of(topHits, p), mean(p.rows)],
  }),
};
