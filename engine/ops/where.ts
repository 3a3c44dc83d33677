import { floatBits } from '../../kernels/lib/broadcast.ts';
import { where as whereKernel, whereGradient } from '../../kernels/where/index.ts';
import type { WhereProblem } from '../../kernels/where/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { broadcastShapes, sameShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { to } from './cast.ts';
import { broadcastDims, reduceInto } from './reduce.ts';

interface Attributes extends WhereProblem {
  /** The operands that are numbers, by their f32 bits. */
  readonly numbers: readonly (number | null)[];
}

const whereOp = defineOp<Attributes>({
  name: 'where',
  forward(ctx, [condition, ...sides]) {
    const { numbers, ...problem } = ctx.attributes;
    const y = ctx.empty(problem.shape);
    const [a, b] = sides.map((side, i) => (side ? { shape: side.shape } : { bits: numbers[i]! }));
    const named = { ...(sides[0] && { a_data: sides[0] }), ...(sides[1] && { b_data: sides[1] }) };
    if (y.size > 0) ctx.run(whereKernel, { ...problem, a, b }, { condition_data: condition!, ...named, y_data: y });
    ctx.save(condition!);
    return [y];
  },
  backward(ctx, [dy]) {
    const { shape, condition } = ctx.attributes;
    for (const side of [0, 1] as const) {
      if (!ctx.needs(1 + side)) continue;
      const own = ctx.inputShape(1 + side);
      const isWhole = sameShape(own, shape);
      const full = isWhole ? ctx.gradient(1 + side) : ctx.empty(shape);
      const tensors = { condition_data: ctx.saved[0], dy_data: dy!, y_data: full };
      if (full.size > 0) ctx.run(whereGradient, { shape, condition, side }, tensors);
      if (!isWhole) reduceInto(ctx, 'sum', full, broadcastDims(own, shape), ctx.gradient(1 + side));
    }
  },
});

/**
 * The elements of a where the condition holds (is not 0), else those of b. All three broadcast; a and b may be numbers. The
 * condition is f32, as comparisons give it, i32 or u32, and has no gradient.
 */
export function where(condition: Tensor, a: Tensor | number, b: Tensor | number): Tensor {
  const sides = [a, b].map((side) => (typeof side === 'number' ? null : side));
  for (const side of sides) if (side) expectFloat(side, 'where');
  const holds = to(condition.detach(), 'f32');
  const shape = [holds, ...sides].reduce<readonly number[]>(
    (so_far, side) => (side ? broadcastShapes(so_far, side.shape, 'where') : so_far),
    [],
  );
  const numbers = [a, b].map((side) => (typeof side === 'number' ? floatBits(side) : null));
  return whereOp([holds, ...sides], { shape, condition: { shape: holds.shape }, numbers })[0];
}
