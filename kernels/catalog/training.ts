/** Kernels of the training step that are no operators of a model: optimizers, gradient norm, checks, measurements. */
import { collect } from '../collect/index.ts';
import { f16Copy } from '../f16-copy/index.ts';
import { countNonFinite, skipNonFiniteStep, countNonFiniteLoss } from '../non-finite/index.ts';
import { adamW } from '../optimizer/adamw/index.ts';
import { ema } from '../optimizer/ema/index.ts';
import { gradNorm } from '../optimizer/grad-norm/index.ts';
import { scalerStep } from '../optimizer/grad-scaler/index.ts';
import { sgd } from '../optimizer/sgd/index.ts';
import { arithmeticPeak, bandwidthPeak } from '../peak/index.ts';
import { of, operator } from './operator.ts';

const flat = { n: 65536 };

export const trainingOperators = {
  adamw: operator({
    folder: 'optimizer/adamw',
    sizes: flat,
    options: { beta1: 0.9, beta2: 0.999, eps: 1e-8, maxNorm: 1 },
    forward: (p) => [of(adamW, p)],
  }),
  sgd: operator({
    folder: 'optimizer/sgd',
    sizes: flat,
    options: { momentum: 0.9, nesterov: false, maxNorm: 1 },
    forward: (p) => [of(sgd, p)],
  }),
  ema: operator({
    folder: 'optimizer/ema',
    sizes: flat,
    options: { decay: 0.9999 },
    forward: (p) => [of(ema, p)],
  }),
  grad_norm: operator({
    folder: 'optimizer/grad-norm',
    sizes: flat,
    forward: (p) => [of(gradNorm, p)],
  }),
  grad_scaler: operator({
    folder: 'optimizer/grad-scaler',
    sizes: {},
    options: { growth: 2, backoff: 0.5, interval: 2000, guard: true, permanent: false },
    forward: (p) => [of(scalerStep, p)],
  }),
  non_finite: operator({
    folder: 'non-finite',
    sizes: { n: 1024 },
    options: { k: 0, f16: false, permanent: true },
    forward: (p) => [of(countNonFinite, p), of(countNonFiniteLoss, p), of(skipNonFiniteStep, p)],
  }),
  collect: operator({
    folder: 'collect',
    sizes: { count: 3 },
    forward: (p) => [of(collect, p)],
  }),
  f16_copy: operator({
    folder: 'f16-copy',
    sizes: flat,
    forward: (p) => [of(f16Copy, p)],
  }),
  arithmetic_peak: operator({
    folder: 'peak',
    sizes: { workgroups: 64, rounds: 512 },
    forward: (p) => [of(arithmeticPeak, p)],
  }),
  bandwidth_peak: operator({
    folder: 'peak',
    sizes: { workgroups: 64, vectors: 16 },
    forward: (p) => [of(bandwidthPeak, p)],
  }),
};
