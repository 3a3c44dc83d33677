import { matmul, prefersTurnedB } from '../../kernels/matmul/index.ts';
import type { MatmulProblem } from '../../kernels/matmul/index.ts';
import type { Kernel } from '../../kernels/kernel.ts';
import { transposeInner } from '../../kernels/transpose.ts';
import type { DType } from '../dtype.ts';
import type { Shape } from '../shape.ts';
import type { Tensor } from '../tensor.ts';

/** What a forward or backward pass lends: memory, and a place to record kernels. */
interface Context {
  empty(shape: Shape, dtype?: DType): Tensor;
  run<Problem extends object>(
    kernel: Kernel<Problem>,
    problem: Problem,
    tensors: Readonly<Record<string, Tensor>>,
  ): void;
}

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

/** Records y = a b with its epilogue, in the form that is fastest on this device. */
export function product(ctx: Context, problem: MatmulProblem, tensors: ProductTensors): void {
  let { b } = tensors;
  let form = problem;
  if (prefersTurnedB(problem, b.engine.profile)) {
    const turned = ctx.empty([problem.n, problem.k]);
    ctx.run(turn, { rows: problem.k, columns: problem.n }, { x: b, y: turned });
    b = turned;
    form = { ...problem, b: { ld: problem.k, transposed: true } };
  }
  const { a, y, bias, residual, pre, activated, row_sums } = tensors;
  ctx.run(matmul, form, {
    a,
    b,
    y,
    // Some variants bind what this product does not use.
    bias: bias ?? b,
    residual: residual ?? b,
    pre: pre ?? b,
    activated: activated ?? ctx.empty([1]),
    ...(row_sums && { row_sums }),
  });
}

/** y [columns, rows] = x [rows, columns] transposed; both are multiples of 4. */
const turn: Kernel<{ rows: number; columns: number }> = ({ rows, columns }, device) => {
  const dims = [
    { size: columns, stride: 1 },
    { size: rows, stride: columns },
  ];
  return transposeInner({ dims, offset: 0 }, device)!;
};
