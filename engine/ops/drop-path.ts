import { dropPath as dropPathKernel, dropPathScales } from '../../kernels/drop-path/index.ts';
import type { DropPathProblem } from '../../kernels/drop-path/index.ts';
import { Purpose } from '../../kernels/lib/philox.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { ForwardContext } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { expectShape, numel } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import { add } from './binary.ts';
import { to } from './cast.ts';
import { expectRate } from './dropout.ts';

/*
 * The mask is drawn again in the backward pass, from the same step number: saving the step tensor makes the tape notice if
 * it was changed in between.
 */

const dropPathOp = defineOp<DropPathProblem>({
  name: 'dropPath',
  forward(ctx, [x]) {
    const { step } = ctx.engine;
    const y = ctx.empty(x!.shape);
    ctx.run(dropPathKernel, ctx.attributes, { x: x!, y, step });
    ctx.save(step);
    return [y];
  },
  backward(ctx, [dy]) {
    ctx.run(dropPathKernel, ctx.attributes, { x: dy!, y: ctx.gradient(0), step: ctx.saved[0] });
  },
});

const dropPathAddOp = defineOp<DropPathProblem>({
  name: 'dropPathAdd',
  precision: { operands: ['f32', 'any'] },
  forward(ctx, inputs) {
    const [residual, x] = [inputs[0]!, inputs[1]!];
    const { step } = ctx.engine;
    const y = ctx.empty(x.shape);
    ctx.run(dropPathKernel, { ...ctx.attributes, f16: x.dtype === 'f16' }, { residual, x, y, step });
    ctx.save(step);
    return [y];
  },
  backward(ctx, [dy]) {
    if (ctx.needs(0)) ctx.pass(0, dy!);
    if (!ctx.needs(1)) return;
    const y = ctx.gradient(1);
    const problem = { ...ctx.attributes, add: false, f16: y.dtype === 'f16' };
    ctx.run(dropPathKernel, problem, { x: dy!, y, step: ctx.saved[0] });
  },
});

const pathProblem = (
  { engine, shape }: Pick<Tensor, 'engine' | 'shape'>,
  rate: number,
  stream: number,
  add: boolean,
) => ({
  samples: shape[0] ?? 1,
  inner: numel(shape.slice(1)),
  rate,
  seed: engine.seed,
  purpose: Purpose.dropPath,
  stream,
  add,
});

/** Stochastic depth of a branch that an operator adds to a residual: see `dropPath`. */
export interface BranchDrop {
  readonly rate: number;
  readonly stream: number;
}

/** The numbers by which `dropPath` would multiply the rows [samples, ...rest] of a branch, f32. */
export function drawScales(ctx: ForwardContext<object>, rows: Shape, { rate, stream }: BranchDrop): Tensor {
  const { engine } = ctx;
  const y = ctx.empty(rows);
  ctx.run(dropPathScales, pathProblem({ engine, shape: rows }, rate, stream, false), { y, step: engine.step });
  return y;
}

/**
 * Stochastic depth: zeroes each sample (index of the first dimension) with probability `rate` and divides the others by
 * 1 - rate. `stream` tells the blocks of one step apart. Without `training`, or at rate 0, x itself. timm's drop_path.
 */
export function dropPath(x: Tensor, rate: number, stream: number, training = true): Tensor {
  expectFloat(x, 'dropPath');
  expectRate(rate, 'dropPath');
  if (!training || rate === 0 || x.size === 0) return x;
  return dropPathOp([x], pathProblem(x, rate, stream, false))[0];
}

/** residual + dropPath(branch, rate, stream) in one pass, in f32. The shapes are equal. */
export function dropPathAdd(residual: Tensor, branch: Tensor, rate: number, stream: number, training = true): Tensor {
  expectFloat(residual, 'dropPathAdd');
  expectFloat(branch, 'dropPathAdd');
  expectShape(branch.shape, residual.shape, 'dropPathAdd', 'the branch');
  expectRate(rate, 'dropPathAdd');
  if (!training || rate === 0 || branch.size === 0) return add(residual, branch);
  return dropPathAddOp([to(residual, 'f32'), branch], pathProblem(branch, rate, stream, true))[0];
}
