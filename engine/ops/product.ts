import {
  fusesRowSums,
  laidLength,
  layColumns,
  matmul,
  partsOfSum,
  prefersLaidColumns,
} from '../../kernels/matmul/index.ts';
import type { MatmulProblem } from '../../kernels/matmul/index.ts';
import type { Kernel } from '../../kernels/kernel.ts';
import type { DType } from '../dtype.ts';
import type { Shape } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { reduceInto } from './reduce.ts';

/** What a forward or backward pass lends: memory, and a place to record kernels. */
interface Context {
  empty(shape: Shape, dtype?: DType): Tensor;
  run<Problem extends object>(
    kernel: Kernel<Problem>,
    problem: Problem,
    tensors: Readonly<Record<string, Tensor>>,
  ): void;
}

/** What of a product is f16 if its operands are: what GELU needs or gives too, and y where that is. */
export const halves = (half: boolean, y: DType): Pick<MatmulProblem, 'half'> =>
  half ? { half: ['a', 'b', 'pre', 'activated', ...(y === 'f16' ? (['y'] as const) : [])] } : {};

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
  const { a, b, y, row_sums } = tensors;
  const { profile } = a.engine;
  const { m, n, k } = problem;
  if (problem.rowSums && !fusesRowSums(problem, profile)) {
    reduceInto(ctx, 'sum', a.viewAs([k, m]), [true, false], row_sums!);
    product(ctx, { ...problem, rowSums: false }, { a, b, y });
    return;
  }
  const parts = partsOfSum(problem, profile);
  // Parts add up in f32.
  if (parts > 1 && y.dtype === 'f32') {
    sumOfParts(ctx, problem, tensors, parts);
    return;
  }
  if (prefersLaidColumns(problem, profile)) {
    const length = laidLength(k);
    const laid = ctx.empty([n, length], b.dtype);
    ctx.run(layColumns, { n, k, b: problem.b, half: b.dtype === 'f16' }, { x: b, y: laid });
    const padded = { ld: length, transposed: true, padded: true };
    record(ctx, { ...problem, b: padded }, { ...tensors, b: laid });
    return;
  }
  record(ctx, problem, tensors);
}

function record(ctx: Context, problem: MatmulProblem, tensors: ProductTensors): void {
  const { a, b, y, bias, residual, pre, activated, row_sums } = tensors;
  ctx.run(matmul, problem, {
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

/** Multiples of this many steps of k in a part: whole stretches of the kernels. */
const STEPS = 16;

/** The sum over k in parts, as a batch of products, and their sum. */
function sumOfParts(ctx: Context, problem: MatmulProblem, { a, b, y }: ProductTensors, parts: number): void {
  const { m, n, k } = problem;
  const depth = Math.ceil(k / parts / STEPS) * STEPS;
  const whole = Math.floor(k / depth);
  const rest = k - whole * depth;
  const partials = ctx.empty([whole + Math.min(rest, 1), m, n]);
  const stepA = problem.a.transposed ? problem.a.ld : 1;
  const stepB = problem.b.transposed ? 1 : problem.b.ld;
  const part = { ...problem, y: { ld: n } };
  const axis = { size: whole, a: depth * stepA, b: depth * stepB, y: m * n };
  record(ctx, { ...part, k: depth, batch: [axis] }, { a, b, y: partials });
  if (rest > 0) {
    const from = (offset: number | undefined, step: number): number => (offset ?? 0) + whole * depth * step;
    const last = {
      ...part,
      k: rest,
      a: { ...problem.a, offset: from(problem.a.offset, stepA) },
      b: { ...problem.b, offset: from(problem.b.offset, stepB) },
      y: { ld: n, offset: whole * m * n },
    };
    record(ctx, last, { a, b, y: partials });
  }
  reduceInto(ctx, 'sum', partials, [true, false, false], y.viewAs([m, n]));
}
