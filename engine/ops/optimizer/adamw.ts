import { DeitError } from '../../../kernels/lib/errors.ts';
import { adamW } from '../../../kernels/optimizer/adamw/index.ts';
import type { Tensor } from '../../tensor.ts';
import { clipOf, expectFlat } from './update.ts';
import type { HyperRow, UpdateOptions } from './update.ts';

export interface AdamWOptions extends UpdateOptions {
  /** Flat running means of the gradient and of its square, zero at first, updated in place. */
  m: Tensor;
  v: Tensor;
  beta1?: number;
  beta2?: number;
  eps?: number;
}

/** One AdamW update of all parameters, in one dispatch. PyTorch's `torch.optim.AdamW`. */
export function adamWStep(options: AdamWOptions): void {
  const { parameters, gradients, m, v, blocks, hyper, norm, beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = options;
  expectFlat('adamWStep', parameters, { gradients, m, v }, blocks, hyper);
  const problem = { n: parameters.size, beta1, beta2, eps, ...clipOf('adamWStep', options) };
  const { engine } = parameters;
  engine.run('adamWStep', adamW, problem, { parameters, gradients, m, v, blocks, hyper, ...(norm ? { norm } : {}) });
}

/** The `hyper` row of a group in step number `step` (from 1). `gradientScale` multiplies the gradient, for example 1 / loss scale. */
export function adamWHyper(settings: {
  lr: number;
  weightDecay: number;
  step: number;
  beta1?: number;
  beta2?: number;
  gradientScale?: number;
}): HyperRow {
  const { lr, weightDecay, step, beta1 = 0.9, beta2 = 0.999, gradientScale = 1 } = settings;
  if (!Number.isInteger(step) || step < 1) {
    throw new DeitError('bad-argument', 'Steps are counted from 1.', { where: 'adamWHyper', found: String(step) });
  }
  return [1 - lr * weightDecay, lr / (1 - beta1 ** step), Math.sqrt(1 - beta2 ** step), gradientScale];
}
