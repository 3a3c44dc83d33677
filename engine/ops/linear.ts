import { DeitError } from '../../kernels/lib/errors.ts';
import { geluForward } from '../../kernels/gelu/index.ts';
import type { Epilogue, MatmulProblem } from '../../kernels/matmul/index.ts';
import { columnSum } from '../../kernels/reduce/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { ForwardContext } from '../op.ts';
import { expectShape, formatShape, numel } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import type { BackwardContext } from '../tape.ts';
import { Tensor } from '../tensor.ts';
import { drawScales } from './drop-path.ts';
import type { BranchDrop } from './drop-path.ts';
import { expectRate } from './dropout.ts';
import { product } from './product.ts';
import type { ProductTensors } from './product.ts';

interface Sizes {
  /** Rows of x: the product of its dimensions but the last. */
  readonly m: number;
  /** Features out. */
  readonly n: number;
  /** Features in. */
  readonly k: number;
}

/** y = x weight^T with what `epilogue` adds; of the operands' type, unless added to a residual in f32. */
function project(
  ctx: ForwardContext<object>,
  { m, n, k }: Sizes,
  x: Tensor,
  weight: Tensor,
  epilogue: Epilogue,
  others: Omit<ProductTensors, 'a' | 'b' | 'y'>,
): Tensor {
  const y = ctx.empty([...x.shape.slice(0, -1), n], epilogue.residual ? 'f32' : x.dtype);
  const problem: MatmulProblem = {
    m,
    n,
    k,
    a: { ld: k, transposed: false },
    b: { ld: k, transposed: true },
    y: { ld: n },
    epilogue,
  };
  product(ctx, problem, { a: x, b: weight, y, ...others });
  return y;
}

/** dx = dy weight; with `pre`, that times gelu'(pre), and `activated`, if given, is gelu(pre) once more. */
function inputGradient(
  ctx: BackwardContext<object>,
  { m, n, k }: Sizes,
  dy: Tensor,
  weight: Tensor,
  dx: Tensor,
  { pre, activated }: { pre?: Tensor; activated?: Tensor } = {},
): void {
  const problem: MatmulProblem = {
    m,
    n: k,
    k: n,
    a: { ld: n, transposed: false },
    b: { ld: k, transposed: false },
    y: { ld: k },
    epilogue: { geluGradient: pre !== undefined, gelu: activated !== undefined },
  };
  product(ctx, problem, { a: dy, b: weight, y: dx, pre, activated });
}

/** dweight = dy^T x and, in the same pass over dy, dbias = its column sums, for the inputs of these numbers. */
function parameterGradients(
  ctx: BackwardContext<object>,
  { m, n, k }: Sizes,
  x: Tensor,
  dy: Tensor,
  weight: number,
  bias: number,
): void {
  if (!ctx.needs(weight)) {
    if (!ctx.needs(bias)) return;
    const sum = { rows: m, columns: n, f16: dy.dtype === 'f16' };
    ctx.run(columnSum, sum, { x: dy, y: ctx.gradient(bias) });
    return;
  }
  const rowSums = ctx.needs(bias);
  const problem: MatmulProblem = {
    m: n,
    n: k,
    k: m,
    a: { ld: n, transposed: true },
    b: { ld: k, transposed: false },
    y: { ld: k },
    rowSums,
  };
  const row_sums = rowSums ? ctx.gradient(bias) : undefined;
  product(ctx, problem, { a: dy, b: x, y: ctx.gradient(weight), row_sums });
}

const linearOp = defineOp<Sizes>({
  name: 'linear',
  precision: { operands: ['f16', 'weight'], result: 'operand' },
  forward(ctx, [x, weight, bias]) {
    const y = project(ctx, ctx.attributes, x!, weight!, { bias: bias !== null }, { bias });
    ctx.save(x!, weight!);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, weight] = ctx.saved;
    if (ctx.needs(0)) inputGradient(ctx, ctx.attributes, dy!, weight, ctx.gradient(0));
    parameterGradients(ctx, ctx.attributes, x, dy!, 1, 2);
  },
});

/** y = x weight^T + bias for x [..., in], weight [out, in], bias [out] or null; y [..., out]. As torch.nn.functional.linear. */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  return linearOp([x, weight, bias], linearSizes('linear', x, weight, bias))[0];
}

/** An operator's last product, whose rows stochastic depth may drop. */
interface Branch extends Sizes {
  readonly drop: BranchDrop | null;
}

/** `project`, added to a residual if there is one, once stochastic depth has passed. */
function projectBranch(
  ctx: ForwardContext<object>,
  { drop, ...sizes }: Branch,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  residual: Tensor | null,
): { y: Tensor; row_scale: Tensor | null } {
  const row_scale = drop && drawScales(ctx, x.shape.slice(0, -1), drop);
  const epilogue = { bias: bias !== null, rowScale: row_scale !== null, residual: residual !== null };
  return { y: project(ctx, sizes, x, weight, epilogue, { bias, row_scale, residual }), row_scale };
}

const linearAddOp = defineOp<Branch>({
  name: 'linearAdd',
  precision: { operands: ['f16', 'weight'], gradient: 'f16' },
  forward(ctx, [x, weight, bias, residual]) {
    const { y, row_scale } = projectBranch(ctx, ctx.attributes, x!, weight!, bias, residual);
    ctx.save(x!, weight!);
    if (row_scale) ctx.scaleGradient(row_scale);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, weight] = ctx.saved;
    if (ctx.needs(3)) ctx.pass(3, dy!);
    const dyOperand = ctx.forProducts(dy!);
    if (ctx.needs(0)) inputGradient(ctx, ctx.attributes, dyOperand, weight, ctx.gradient(0));
    parameterGradients(ctx, ctx.attributes, x, dyOperand, 1, 2);
  },
});

/**
 * residual + linear(x, weight, bias) in one pass; residual [..., out] has the shape of the result. With `drop`, residual +
 * dropPath(linear(x, weight, bias), drop.rate, drop.stream), in the same pass.
 */
export function linearAdd(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  residual: Tensor,
  drop: BranchDrop | null = null,
): Tensor {
  const sizes = linearSizes('linearAdd', x, weight, bias);
  expectFloat(residual, 'linearAdd');
  expectShape(residual.shape, [...x.shape.slice(0, -1), sizes.n], 'linearAdd', 'the residual');
  return linearAddOp([x, weight, bias, residual], { ...sizes, drop: checkedDrop('linearAdd', x, residual, drop) })[0];
}

interface MlpSizes {
  readonly first: Sizes;
  readonly second: Branch;
}

/** Inputs: x, weight1, bias1, weight2, bias2, residual. */
const mlpOp = defineOp<MlpSizes>({
  name: 'mlp',
  // f32 where a residual is added.
  precision: { operands: ['f16', 'weight', 'f32', 'weight'], result: 'operand', gradient: 'f16' },
  forward(ctx, inputs) {
    const { first, second } = ctx.attributes;
    const [x, weight1, weight2] = [inputs[0]!, inputs[1]!, inputs[3]!];
    const [bias1, bias2, residual] = [inputs[2], inputs[4], inputs[5]];
    const hidden = ctx.empty([...x.shape.slice(0, -1), first.n], x.dtype);
    const epilogue1 = { bias: bias1 !== null, gelu: true };
    const pre = project(ctx, first, x, weight1, epilogue1, { bias: bias1, activated: hidden });
    const { y, row_scale } = projectBranch(ctx, second, hidden, weight2, bias2, residual);
    // gelu(pre) is as large as pre and cheap: a third of what a block would keep is computed again instead.
    ctx.save(x, weight1, weight2, pre);
    if (row_scale) ctx.scaleGradient(row_scale);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x, weight1, weight2, pre] = ctx.saved;
    const { first, second } = ctx.attributes;
    if (ctx.needs(5)) ctx.pass(5, dy!);
    const dyOperand = ctx.forProducts(dy!);
    // The product that meets pre in its epilogue computes gelu(pre) on the way.
    const hidden = ctx.empty(pre.shape, pre.dtype);
    const dpre = ctx.empty(pre.shape, pre.dtype);
    if (ctx.needs(0) || ctx.needs(1) || ctx.needs(2)) {
      inputGradient(ctx, second, dyOperand, weight2, dpre, { pre, activated: ctx.needs(3) ? hidden : undefined });
    } else if (ctx.needs(3)) {
      ctx.run(geluForward, { n: pre.size, approximate: 'none', f16: pre.dtype === 'f16' }, { x: pre, y: hidden });
    }
    parameterGradients(ctx, second, hidden, dyOperand, 3, 4);
    parameterGradients(ctx, first, x, dpre, 1, 2);
    if (ctx.needs(0)) inputGradient(ctx, first, dpre, weight1, ctx.gradient(0));
  },
});

/**
 * A transformer's feed-forward part: linear(gelu(linear(x, weight1, bias1)), weight2, bias2), plus residual unless that
 * is null; with `drop`, stochastic depth before that, as of `linearAdd`. GELU (exact), its derivative, biases and the addition
 * cost no passes of their own.
 */
export function mlp(
  x: Tensor,
  weight1: Tensor,
  bias1: Tensor | null,
  weight2: Tensor,
  bias2: Tensor | null,
  residual: Tensor | null = null,
  drop: BranchDrop | null = null,
): Tensor {
  const first = linearSizes('mlp', x, weight1, bias1);
  const lead = x.shape.slice(0, -1);
  const second = linearSizes('mlp', [...lead, first.n], weight2, bias2);
  if (residual) {
    expectFloat(residual, 'mlp');
    expectShape(residual.shape, [...lead, second.n], 'mlp', 'the residual');
  }
  const branch = { ...second, drop: checkedDrop('mlp', x, residual, drop) };
  return mlpOp([x, weight1, bias1, weight2, bias2, residual], { first, second: branch })[0];
}

/** What there is to drop: null at rate 0. */
function checkedDrop(where: string, x: Tensor, residual: Tensor | null, drop: BranchDrop | null): BranchDrop | null {
  if (!drop) return null;
  expectRate(drop.rate, where);
  if (!residual || x.rank < 2) {
    throw new DeitError('bad-argument', 'Stochastic depth drops the branches of samples, beside a residual.', {
      where,
      expected: 'x [samples, ..., in], and a residual',
      found: `x ${formatShape(x.shape)}, ${residual ? 'a' : 'no'} residual`,
    });
  }
  return drop.rate > 0 ? drop : null;
}

function linearSizes(where: string, x: Tensor | Shape, weight: Tensor, bias: Tensor | null): Sizes {
  for (const tensor of [x, weight, bias]) if (tensor instanceof Tensor) expectFloat(tensor, where);
  const shape = x instanceof Tensor ? x.shape : x;
  const [n, k] = weight.shape;
  if (weight.rank !== 2 || shape.length < 1 || shape.at(-1) !== k || numel(shape) === 0) {
    throw new DeitError('shape-mismatch', 'The features of the input do not fit the weight [out, in].', {
      where,
      expected: `x [..., ${k}] that is not empty`,
      found: `x ${formatShape(shape)}, weight ${formatShape(weight.shape)}`,
    });
  }
  if (bias) expectShape(bias.shape, [n], where, 'the bias');
  return { m: numel(shape) / k, n, k };
}
