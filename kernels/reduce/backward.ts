/**
 * Gradients of reductions, written in the shape of x. `kept` is the shape of the result with the reduced dimensions as 1.
 *
 *   sum, mean   dx = dy / divisor, spread over the reduced dimensions
 *   amax        dx = dy / (number of elements equal to the maximum) there, 0 elsewhere: ties share evenly, as in PyTorch
 */
import { broadcastSpec, floatBits } from '../lib/broadcast.ts';
import { pointwise } from '../lib/elementwise.ts';

export interface SpreadProblem {
  shape: readonly number[];
  kept: readonly number[];
}

/** dx = dy / divisor. Bindings dy_data, y_data (which is dx). */
export const spread = pointwise<SpreadProblem & { divisor: number }>(
  'reduce.backward/spread',
  ({ shape, kept, divisor }) =>
    broadcastSpec({
      name: 'reduce.backward/spread',
      shape,
      operands: { dy: { shape: kept }, divisor: { bits: floatBits(divisor) } },
      formula: 'dy / divisor',
      flops: 1,
    }),
);

/** 1 where x is the maximum y, else 0. Bindings x_data, maximum_data, y_data. */
export const tieMask = pointwise<SpreadProblem>('amax.backward/mask', ({ shape, kept }) =>
  broadcastSpec({
    name: 'amax.backward/mask',
    shape,
    operands: { x: { shape }, maximum: { shape: kept } },
    formula: 'select(vec4f(0.0), vec4f(1.0), x == maximum)',
    flops: 1,
  }),
);

/** dx = dy / ties where x is the maximum, else 0. Bindings x_data, maximum_data, ties_data, dy_data, y_data (which is dx). */
export const tieGradient = pointwise<SpreadProblem>('amax.backward/share', ({ shape, kept }) =>
  broadcastSpec({
    name: 'amax.backward/share',
    shape,
    operands: { x: { shape }, maximum: { shape: kept }, ties: { shape: kept }, dy: { shape: kept } },
    formula: 'select(vec4f(0.0), dy / ties, x == maximum)',
    flops: 2,
  }),
);
