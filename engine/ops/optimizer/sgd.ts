import { DeitError } from '../../../kernels/lib/errors.ts';
import { sgd } from '../../../kernels/optimizer/sgd/index.ts';
import type { Tensor } from '../../tensor.ts';
import { clipOf, expectFlat } from './update.ts';
import type { HyperRow, UpdateOptions } from './update.ts';

export interface SgdOptions extends UpdateOptions {
  /** Flat, zero at first, updated in place; required exactly if momentum is not 0. */
  momentumBuffer?: Tensor | null;
  momentum?: number;
  nesterov?: boolean;
}

/** One SGD update of all parameters, in one dispatch. PyTorch's `torch.optim.SGD`. */
export function sgdStep(options: SgdOptions): void {
  const { parameters, gradients, blocks, hyper, norm, momentumBuffer, momentum = 0, nesterov = false } = options;
  if (momentum !== 0 && !momentumBuffer) {
    throw new DeitError('bad-argument', 'Momentum needs a buffer.', { where: 'sgdStep', expected: 'momentumBuffer' });
  }
  const buffer: Record<string, Tensor> = momentum !== 0 && momentumBuffer ? { momentum_buffer: momentumBuffer } : {};
  expectFlat('sgdStep', parameters, { gradients, ...buffer }, blocks, hyper);
  const problem = { n: parameters.size, momentum, nesterov, ...clipOf('sgdStep', options) };
  const { engine } = parameters;
  engine.run('sgdStep', sgd, problem, { parameters, gradients, ...buffer, blocks, hyper, ...(norm ? { norm } : {}) });
}

/** The `hyper` row of a group in step number `step` (from 1). */
export function sgdHyper(settings: {
  lr: number;
  weightDecay?: number;
  dampening?: number;
  step: number;
  gradientScale?: number;
}): HyperRow {
  const { lr, weightDecay = 0, dampening = 0, step, gradientScale = 1 } = settings;
  if (!Number.isInteger(step) || step < 1) {
    throw new DeitError('bad-argument', 'Steps are counted from 1.', { where: 'sgdHyper', found: String(step) });
  }
  return [lr, weightDecay, step === 1 ? 1 : 1 - dampening, gradientScale];
}
