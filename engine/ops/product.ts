import { matmul } from '../../kernels/matmul/index.ts';
import type { MatmulProblem } from '../../kernels/matmul/index.ts';
import type { DType } from '../dtype.ts';
import type { Tensor } from '../tensor.ts';
import type { Workspace } from './reduce.ts';

/** What of a product is f16 if its operands are: what GELU needs or gives too, and y where that is. */
export const f16Of = (f16: boolean, y: DType): Pick<MatmulProblem, 'f16'> =>
  f16 ? { f16: ['a', 'b', 'pre', 'activated', ...(y === 'f16' ? (['y'] as const) : [])] } : {};

/** Operands, and what the epilogue of the product reads and writes. */
export interface ProductTensors {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly y: Tensor;
  readonly bias?: Tensor | null;
  readonly residual?: Tensor | null;
  readonly pre?: Tensor | null;
  readonly activated?: Tensor;
  readonly row_sums?: Tensor;
}

/** Records y = a b with its epilogue. */
export function product(ctx: Workspace, problem: MatmulProblem, tensors: ProductTensors): void {
  const given = Object.entries(tensors).filter((entry): entry is [string, Tensor] => Boolean(entry[1]));
  ctx.run(matmul, problem, Object.fromEntries(given));
}
