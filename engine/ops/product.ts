import {
  laidLength,
  layAlongK,
  matmul,
  matmulCost,
  productForm,
  productForms,
  withLaid,
} from '../../kernels/matmul/index.ts';
import type { HalfBinding, MatmulProblem, ProductForm } from '../../kernels/matmul/index.ts';
import type { Kernel } from '../../kernels/lib/kernel.ts';
import type { DType } from '../dtype.ts';
import type { Shape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { roundingOfSums } from '../variants.ts';
import type { Tunable } from '../variants.ts';
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

/** Records y = a b with its epilogue, in the form that was measured to be fastest, or that usually is. */
export function product(ctx: Context, problem: MatmulProblem, tensors: ProductTensors): void {
  const { engine } = tensors.a;
  productIn(
    ctx,
    engine.variants.find(tunableProduct, problem) ?? productForm(problem, engine.profile),
    problem,
    tensors,
  );
}

function productIn(ctx: Context, form: ProductForm, problem: MatmulProblem, tensors: ProductTensors): void {
  const { a, b, y, row_sums } = tensors;
  const { m, n, k } = problem;
  const { sums, parts = 1, laid, variant } = form;
  if (sums) {
    reduceInto(ctx, 'sum', a.viewAs([k, m]), [true, false], row_sums!);
    productIn(ctx, { ...form, sums: false }, { ...problem, rowSums: false }, { a, b, y });
    return;
  }
  const own = variant ? { ...problem, variant } : problem;
  if (parts > 1) {
    sumOfParts(ctx, own, tensors, parts);
  } else if (laid) {
    const lay = (of: 'a' | 'b', count: number, x: Tensor): Tensor => {
      const y = ctx.empty([count, laidLength(k)], x.dtype);
      ctx.run(layAlongK, { of, count, k, operand: problem[of], half: x.dtype === 'f16' }, { x, y });
      return y;
    };
    record(ctx, withLaid(own, laid), { ...tensors, b: lay('b', n, b), ...(laid === 'ab' && { a: lay('a', m, a) }) });
  } else record(ctx, own, tensors);
}

function record(ctx: Context, problem: MatmulProblem, tensors: ProductTensors): void {
  const { a, b, y, bias, residual, pre, activated, row_sums } = tensors;
  // Some variants bind what this product does not use.
  const { input, output } = y.engine.placeholders;
  ctx.run(matmul, problem, {
    a,
    b,
    y,
    bias: bias ?? input,
    residual: residual ?? input,
    pre: pre ?? input,
    activated: activated ?? output,
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

const operand = (transposed: boolean): string => (transposed ? '^T' : '');

/** Elements that an operand of stored rows takes, all batches included. */
function extent(problem: MatmulProblem, of: 'a' | 'b' | 'y', rows: number, columns: number): number {
  const { ld, offset = 0 } = problem[of];
  const steps = (problem.batch ?? []).reduce((sum, axis) => sum + (axis.size - 1) * axis[of], 0);
  return offset + steps + (rows - 1) * ld + columns;
}

/** The forms of a product, for the tuner. */
export const tunableProduct: Tunable<MatmulProblem, ProductForm> = {
  name: 'product',
  ways: productForms,
  flops: (problem) => matmulCost(problem).flops,
  describe({ m, n, k, a, b, batch = [], epilogue = {}, rowSums }) {
    const sizes = batch.map(({ size }) => size).filter((size) => size > 1);
    const extras = Object.entries(epilogue).flatMap(([name, on]) => (on ? [name] : []));
    if (rowSums) extras.push('rowSums');
    const shape = `${[...sizes, ''].join('x')}${m}x${k}${operand(a.transposed)} by ${k}x${n}${operand(b.transposed)}`;
    return [shape, ...extras].join(' + ');
  },
  trial(engine, problem, uniform) {
    const { m, n, k, a, b, epilogue = {}, rowSums } = problem;
    const size = extent(problem, 'y', m, n);
    const make = (name: HalfBinding, elements: number): Tensor =>
      uniform([elements], problem.half?.includes(name) ? 'f16' : 'f32');
    const tensors = {
      a: make('a', extent(problem, 'a', a.transposed ? k : m, a.transposed ? m : k)),
      b: make('b', extent(problem, 'b', b.transposed ? n : k, b.transposed ? k : n)),
      y: make('y', size),
      ...(epilogue.bias && { bias: make('bias', n) }),
      ...(epilogue.residual && { residual: make('residual', size) }),
      ...(epilogue.geluGradient && { pre: make('pre', size) }),
      ...(epilogue.gelu && { activated: make('activated', size) }),
      ...(rowSums && { row_sums: uniform([m]) }),
    };
    const ctx: Context = {
      empty: (shape, dtype) => engine.empty(shape, dtype),
      run: (kernel, own, bound) => engine.run('tune', kernel, own, bound),
    };
    const { y, activated, row_sums } = tensors;
    return {
      record: (form) => productIn(ctx, form, problem, tensors),
      results: [y, activated, row_sums].filter((tensor) => tensor !== undefined),
      // Where f16 is stored, one of two neighbours.
      tolerance: roundingOfSums(k) + (problem.half ? 2 ** -11 : 0),
    };
  },
};
