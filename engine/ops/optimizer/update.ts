import { DeitError } from '../../../kernels/lib/errors.ts';
import { BLOCK_ELEMENTS } from '../../../kernels/lib/flat-update.ts';
import type { ClipProblem } from '../../../kernels/lib/flat-update.ts';
import type { DType } from '../../dtype.ts';
import type { Tensor } from '../../tensor.ts';
import { formatShape } from '../../tensor-shape.ts';

/*
 * Updates in place of flat buffers (see Engine.pack): plain functions, outside the tape. What changes from step to step
 * is read from tensors (`hyper`, `norm`), so that a recorded step can be replayed.
 */

/** Numbers a group of parameters in `hyper`, a tensor [groups, 4]; made by `adamWHyper` or `sgdHyper`. */
export type HyperRow = readonly [number, number, number, number];

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

/** What an update takes of `norm` and `maxNorm`. */
export function clipOf(where: string, { norm, maxNorm = 0 }: UpdateOptions): ClipProblem {
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

/** Throws unless all are flat buffers of one size, with the blocks and the settings of that. */
export function expectFlat(
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

/** The error about a tensor whose shape is another. */
export const misfit = (where: string, what: string, expected: string, found: string): DeitError =>
  new DeitError('shape-mismatch', `The shape of ${what} does not fit.`, { where, expected, found });
