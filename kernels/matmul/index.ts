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

/** y = scale * a b + epilogue: see MatmulProblem. */
export const matmul: Kernel<MatmulProblem> = (problem, device) => {
  checkMatmul(problem);
  const plan = planMatmul(problem, device);
  require(!problem.rowSums || plan.length === 1, 'matmul', 'row sums of what one launch can bind', problem);
  return inHalf(
    plan.flatMap((part) => launchesOf(part, device)),
    problem.half,
  );
};
