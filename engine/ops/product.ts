import { matmul } from '../../kernels/matmul/index.ts';
import type { MatmulProblem } from '../../kernels/matmul/index.ts';
import type { Tensor } from '../tensor.ts';
import type { Workspace } from '../workspace.ts';

/** Operands, and what the epilogue of the product reads and writes. */
export interface ProductTensors {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly y: Tensor;
  readonly bias?: Tensor | null;
  readonly row_scale?: Tensor | null;
  readonly residual?: Tensor | null;
  readonly pre?: Tensor | null;
  readonly activated?: Tensor;
  readonly row_sums?: Tensor;
}

/** What of a product is f16 if its operands are: what GELU needs or gives too, and y where that is. */
const storageOf = ({ a, y }: ProductTensors): Pick<MatmulProblem, 'f16'> =>
  a.dtype === 'f16' ? { f16: ['a', 'b', 'pre', 'activated', ...(y.dtype === 'f16' ? (['y'] as const) : [])] } : {};

/** Records y = a b with its epilogue; the problem is of f16 where the tensors are. */
export function product(ctx: Workspace, problem: Omit<MatmulProblem, 'f16'>, tensors: ProductTensors): void {
  const given = Object.entries(tensors).filter((entry): entry is [string, Tensor] => Boolean(entry[1]));
  ctx.run(matmul, { ...problem, ...storageOf(tensors) }, Object.fromEntries(given));
}
