import { adamW } from '../../../kernels/optimizer/adamw/index.ts';
import { ema } from '../../../kernels/optimizer/ema/index.ts';
import { DeitError } from '../../../kernels/lib/errors.ts';
import { BLOCK_ELEMENTS, blockWord } from '../../../kernels/lib/flat-update.ts';
import type { ClipProblem } from '../../../kernels/lib/flat-update.ts';
import { gradNorm as gradNormKernel, gradNormPartials } from '../../../kernels/optimizer/grad-norm/index.ts';
import { sgd } from '../../../kernels/optimizer/sgd/index.ts';
import type { DType } from '../../dtype.ts';
import type { Engine } from '../../engine.ts';
import { formatShape } from '../../tensor-shape.ts';
import { Tensor } from '../../tensor.ts';

/*
 * Updates in place of flat buffers (see Engine.pack): plain functions, outside the tape. What changes from step to step
 * is read from tensors (`hyper`, `norm`), so that a recorded step can be replayed.
 */

/** Numbers a group of parameters in `hyper`, a tensor [groups, 4]; made by `adamWHyper` or `sgdHyper`. */
export type HyperRow = readonly [number, number, number, number];

/**
 * Which elements of a flat buffer of `tensors` (in the order in which they were packed) are real, and to which group of
 * settings each tensor belongs: a u32 tensor with one word for 64 elements, for the updates below.
 */
export function blockTable(
  engine: Engine,
  tensors: readonly { readonly size: number }[],
  groupOf: (index: number) => number = () => 0,
): Tensor {
  const words: number[] = [];
  tensors.forEach(({ size }, index) => {
    const group = groupOf(index);
    if (!Number.isInteger(group) || group < 0 || group >= 2 ** 24) {
      throw new DeitError('bad-argument', 'A group is a whole number.', { where: 'blockTable', found: String(group) });
    }
    for (let first = 0; first < Math.max(1, size); first += BLOCK_ELEMENTS) {
      words.push(blockWord(Math.min(BLOCK_ELEMENTS, size - first), group));
    }
  });
  return engine.tensor(words, [words.length], 'u32');
}

/**
 * A flat gradient buffer of the same layout as `flat`, into which `parameters` were packed; backward writes the gradient
 * of each parameter to its place there (`gradHome`). The buffer is zero at first, and kept.
 */
export function flatGradients(parameters: readonly Tensor[], flat: Tensor): Tensor {
  const gradients = flat.engine.zeros(flat.shape).keep('gradient');
  for (const parameter of parameters) {
    if (parameter.storage !== flat.storage) {
      throw new DeitError('bad-argument', 'A parameter does not live in the flat buffer.', {
        where: `flatGradients, ${parameter.toString()}`,
        fix: 'pack it with the others first',
      });
    }
    const { shape, offset } = parameter;
    parameter.gradHome = new Tensor(
      flat.engine,
      gradients.storage,
      shape,
      'f32',
      gradients.offset + offset - flat.offset,
    );
  }
  return gradients;
}

/** What both optimizers take. */
export interface UpdateOptions {
  /** Flat parameters, updated in place. */
  parameters: Tensor;
  /** Flat gradients of the same layout. */
  gradients: Tensor;
  /** From `blockTable`. */
  blocks: Tensor;
  /** f32 [groups, 4], one `HyperRow` a group of `blocks`; the host rewrites it before each step. */
  hyper: Tensor;
  /** From `gradNorm`, then `updateLossScale` if the loss was scaled: nothing is updated if it counted a non-finite element. */
  norm?: Tensor | null;
  /** With `norm`: the gradient is multiplied by min(1, maxNorm / (norm + 1e-6)), as torch's clip_grad_norm_. 0 or absent: no clipping. */
  maxNorm?: number;
}

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

/**
 * f32 [2]: the global L2 norm of a flat gradient buffer, and how many of its elements are NaN or infinite (those are left
 * out of the norm). Deterministic. Written to the beginning of `out` if given.
 */
export function gradNorm(options: { gradients: Tensor; blocks: Tensor; out?: Tensor }): Tensor {
  const { gradients, blocks } = options;
  const { engine } = gradients;
  expectFlat('gradNorm', gradients, {}, blocks, null);
  const norm = options.out ?? engine.empty([2]);
  if (norm.size !== 2 && norm.size !== 4) throw misfit('gradNorm', 'out', '[2] or [4]', formatShape(norm.shape));
  const { first, second } = gradNormPartials({ n: gradients.size });
  const [partials, partials2] = [engine.empty([first, 2]), engine.empty([second, 2])];
  engine.run('gradNorm', gradNormKernel, { n: gradients.size }, { gradients, blocks, partials, partials2, norm });
  return norm;
}

/** average <- decay * average + (1 - decay) * values, in place. Tensors of equal size, flat or not. timm's `ModelEmaV2`. */
export function emaStep(options: { average: Tensor; values: Tensor; decay: number }): void {
  const { average, values, decay } = options;
  if (average.size !== values.size) {
    throw misfit('emaStep', 'values', formatShape(average.shape), formatShape(values.shape));
  }
  average.engine.run('emaStep', ema, { n: average.size, decay }, { average, values });
}

function clipOf(where: string, { norm, maxNorm = 0 }: UpdateOptions): ClipProblem {
  if (norm) {
    if (norm.size !== 2 && norm.size !== 4)
      throw misfit(where, 'norm', '[2] from gradNorm, or [4] from updateLossScale', formatShape(norm.shape));
    return norm.size === 4 ? { maxNorm, scaled: true } : { maxNorm };
  }
  if (maxNorm > 0) {
    throw new DeitError('bad-argument', 'Clipping needs the norm of the gradient.', {
      where,
      fix: 'pass norm: gradNorm({ gradients, blocks })',
    });
  }
  return { maxNorm: null };
}

function expectFlat(
  where: string,
  flat: Tensor,
  others: Readonly<Record<string, Tensor>>,
  blocks: Tensor,
  hyper: Tensor | null,
): void {
  const expectType = (name: string, tensor: Tensor, dtype: DType) => {
    if (tensor.dtype === dtype) return;
    throw new DeitError('dtype-mismatch', `${name} has the wrong dtype.`, {
      where,
      expected: dtype,
      found: tensor.dtype,
    });
  };
  if (flat.size % BLOCK_ELEMENTS !== 0) {
    throw misfit(where, 'the flat buffer', 'a multiple of 64 elements, from Engine.pack', formatShape(flat.shape));
  }
  for (const [name, tensor] of Object.entries({ flat, ...others })) {
    expectType(name, tensor, 'f32');
    if (tensor.size !== flat.size) throw misfit(where, name, `${flat.size} elements`, formatShape(tensor.shape));
  }
  expectType('blocks', blocks, 'u32');
  if (blocks.size * BLOCK_ELEMENTS !== flat.size) {
    throw misfit(where, 'blocks', `[${flat.size / BLOCK_ELEMENTS}], from blockTable`, formatShape(blocks.shape));
  }
  if (!hyper) return;
  expectType('hyper', hyper, 'f32');
  if (hyper.size === 0 || hyper.size % 4 !== 0) throw misfit(where, 'hyper', '[groups, 4]', formatShape(hyper.shape));
}

const misfit = (where: string, what: string, expected: string, found: string): DeitError =>
  new DeitError('shape-mismatch', `The shape of ${what} does not fit.`, { where, expected, found });
