/**
 * Products of matrices, with what follows them (biases, GELU, a residual) as an epilogue (epilogue.ts):
 *
 *     y[z, i, j] = scale * sum_k a[z, i, k] b[z, k, j] + epilogue, for every batch index z.
 *
 * Every operand is addressed by strides, so that transposes, heads of a fused projection and broadcast batches need no
 * copy: stored rows are `ld` elements apart and have their elements next to each other. The sum over k runs in f32, in
 * an order that depends on the variant but not on timing. Gradients are products again, of transposed operands:
 * da = dy b^T, db = a^T dy. Cost: 2 m n k FLOP a batch index. Variants are listed in variants.ts.
 * `deit kernel matmul` shows the kernels.
 */
import { inHalf } from '../lib/f16-storage.ts';
import { require } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { planMatmul } from './batch.ts';
import { checkMatmul } from './problem.ts';
import type { MatmulProblem } from './problem.ts';
import { launchesOf } from './variants.ts';

export type { BatchAxis, HalfBinding, MatmulOperand, MatmulProblem, MatmulTarget, Variant } from './problem.ts';
export type { Epilogue } from './epilogue.ts';
export { productForm, productForms, withLaid } from './forms.ts';
export type { ProductForm } from './forms.ts';
export { laidLength, layAlongK } from './lay-along-k.ts';
export { matmulCost } from './problem.ts';

/** Bindings a, b, y, those of the epilogue, and row_sums. */
export const matmul: Kernel<MatmulProblem> = (problem, device) => {
  checkMatmul(problem);
  const plan = planMatmul(problem, device);
  require(!problem.rowSums || plan.length === 1, 'matmul', 'row sums of what one launch can bind', problem);
  return inHalf(
    plan.flatMap((part) => launchesOf(part, device)),
    problem.half,
  );
};
