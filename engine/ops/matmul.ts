import { DeitError } from '../../kernels/lib/errors.ts';
import type { BatchAxis, MatmulProblem } from '../../kernels/matmul/index.ts';
import { expectFloat } from '../autocast.ts';
import { broadcastShapes, formatShape, numel } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { product } from './product.ts';

export interface MatmulOptions {
  /** The first operand is given as [..., k, m]. */
  transposeA?: boolean;
  /** The second operand is given as [..., n, k]. */
  transposeB?: boolean;
}

interface Attributes {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** Elements from one index of each of `batch`'s axes to the next, in a tensor of batch shape `own` and `matrix` elements. */
function batchStrides(own: Shape, batch: Shape, matrix: number): number[] {
  const strides: number[] = [];
  let step = matrix;
  for (let i = 1; i <= batch.length; i++) {
    const size = own[own.length - i] ?? 1;
    strides.unshift(size === 1 ? 0 : step);
    step *= size;
  }
  return strides;
}

const axes = (batch: Shape, a: number[], b: number[], y: number[]): BatchAxis[] =>
  batch.map((size, i) => ({ size, a: a[i], b: b[i], y: y[i] }));

const matmulOp = defineOp<Attributes>({
  name: 'matmul',
  precision: { operands: ['f16', 'f16'], result: 'operand' },
  forward(ctx, inputs) {
    const [a, b] = [inputs[0]!, inputs[1]!];
    const { m, n, k, batch, strides } = matmulShape(a.shape, b.shape, ctx.attributes);
    const y = ctx.result([...batch, m, n]);
    const problem: MatmulProblem = {
      m,
      n,
      k,
      a: { ld: a.shape.at(-1)!, transposed: ctx.attributes.transposeA },
      b: { ld: b.shape.at(-1)!, transposed: ctx.attributes.transposeB },
      y: { ld: n },
      batch: axes(batch, strides.a, strides.b, strides.y),
    };
    product(ctx, problem, { a, b, y });
    ctx.save(a, b);
    return [y];
  },
  backward(ctx, [dy]) {
    const [a, b] = ctx.saved;
    const { transposeA, transposeB } = ctx.attributes;
    const { m, n, k, batch, strides } = matmulShape(a.shape, b.shape, ctx.attributes);
    const dyOperand = { ld: n };
    const aOperand = { ld: a.shape.at(-1)! };
    const bOperand = { ld: b.shape.at(-1)! };
    if (ctx.needs(0)) {
      // da = dy b^T, or, where a is stored transposed, (dy b^T)^T = b dy^T.
      const problem: MatmulProblem = transposeA
        ? {
            m: k,
            n: m,
            k: n,
            a: { ...bOperand, transposed: transposeB },
            b: { ...dyOperand, transposed: true },
            y: aOperand,
            batch: axes(batch, strides.b, strides.y, strides.a),
          }
        : {
            m,
            n: k,
            k: n,
            a: { ...dyOperand, transposed: false },
            b: { ...bOperand, transposed: !transposeB },
            y: aOperand,
            batch: axes(batch, strides.y, strides.b, strides.a),
          };
      product(ctx, problem, { a: transposeA ? b : dy!, b: transposeA ? dy! : b, y: ctx.gradient(0) });
    }
    if (ctx.needs(1)) {
      // db = a^T dy, or, where b is stored transposed, dy^T a.
      const problem: MatmulProblem = transposeB
        ? {
            m: n,
            n: k,
            k: m,
            a: { ...dyOperand, transposed: true },
            b: { ...aOperand, transposed: transposeA },
            y: bOperand,
            batch: axes(batch, strides.y, strides.a, strides.b),
          }
        : {
            m: k,
            n,
            k: m,
            a: { ...aOperand, transposed: !transposeA },
            b: { ...dyOperand, transposed: false },
            y: bOperand,
            batch: axes(batch, strides.a, strides.y, strides.b),
          };
      product(ctx, problem, { a: transposeB ? dy! : a, b: transposeB ? a : dy!, y: ctx.gradient(1) });
    }
  },
});

function matmulShape(a: Shape, b: Shape, { transposeA, transposeB }: Attributes) {
  const [m, k] = transposeA ? [a.at(-1)!, a.at(-2)!] : [a.at(-2)!, a.at(-1)!];
  const n = transposeB ? b.at(-2)! : b.at(-1)!;
  const [aBatch, bBatch] = [a.slice(0, -2), b.slice(0, -2)];
  const batch = broadcastShapes(aBatch, bBatch, 'matmul');
  const strides = {
    a: batchStrides(aBatch, batch, m * k),
    b: batchStrides(bBatch, batch, n * k),
    y: batchStrides(batch, batch, m * n),
  };
  return { m, n, k, batch, strides };
}

/**
 * Matrix product of the last two dimensions, a [..., m, k] by b [..., k, n] to [..., m, n]; the dimensions before them
 * broadcast. The options say that an operand is stored transposed; no copy is made of it. As torch.matmul for operands
 * of two or more dimensions.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const attributes = { transposeA: options.transposeA ?? false, transposeB: options.transposeB ?? false };
  expectFloat(a, 'matmul');
  expectFloat(b, 'matmul');
  if (a.rank < 2 || b.rank < 2) {
    throw new DeitError('shape-mismatch', 'matmul() takes operands of at least two dimensions.', {
      where: 'matmul',
      found: `${formatShape(a.shape)} and ${formatShape(b.shape)}`,
      fix: 'reshape a vector to one row or one column',
    });
  }
  const k = a.shape.at(attributes.transposeA ? -2 : -1)!;
  const found = b.shape.at(attributes.transposeB ? -1 : -2)!;
  if (k !== found || numel(a.shape) === 0 || numel(b.shape) === 0) {
    throw new DeitError('shape-mismatch', 'The inner dimensions of the operands differ, or one is empty.', {
      where: `matmul(transposeA: ${attributes.transposeA}, transposeB: ${attributes.transposeB})`,
      expected: 'inner dimensions that are equal and not zero',
      found: `${formatShape(a.shape)} and ${formatShape(b.shape)}`,
    });
  }
  return matmulOp([a, b], attributes)[0];
}
