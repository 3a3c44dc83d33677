import type { Kernel } from '../kernel.ts';
import { planMatmul } from './batch.ts';
import { matmulGeneral } from './general.ts';
import { checkMatmul } from './problem.ts';
import type { MatmulProblem } from './problem.ts';

export type { BatchAxis, Epilogue, MatmulOperand, MatmulProblem, MatmulTarget } from './problem.ts';

/** y = scale * a b + epilogue: see MatmulProblem. */
export const matmul: Kernel<MatmulProblem> = (problem, device) => {
  checkMatmul(problem);
  return planMatmul(problem).flatMap((part) => matmulGeneral(part, device));
};
