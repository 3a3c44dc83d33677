import { gradNorm as gradNormKernel } from '../../../kernels/optimizer/grad-norm/index.ts';
import type { Tensor } from '../../tensor.ts';
import { formatShape } from '../../tensor-shape.ts';
import { expectFlat, misfit } from './update.ts';

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
  engine.run('gradNorm', gradNormKernel, { n: gradients.size }, { gradients, blocks, norm });
  return norm;
}
