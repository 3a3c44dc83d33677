/**
 * Gradients of reductions, written in the shape of x. `kept` is the shape of the result with the reduced dimensions as 1.
 *
 *   sum, mean   dx = dy / divisor, spread over the reduced dimensions
 *   amax        dx = dy / (number of elements equal to the maximum) there, 0 elsewhere: ties share evenly, as in PyTorch
 */
import { broadcastMap, floatBits } from '../lib/broadcast.ts';
import type { Kernel } from '../lib/kernel.ts';

export interface SpreadProblem {
  shape: readonly number[];
  kept: readonly number[];
}

/** dx = dy / divisor. Bindings dy_data, y_data (which is dx). */
export const spread: Kernel<SpreadProblem & { divisor: number }> = ({ shape, kept, divisor }, device) =>
  broadcastMap(
    {
      name: 'reduce.backward/spread',
      shape,
      operands: { dy: { shape: kept }, divisor: { bits: floatBits(divisor) } },
      formula: 'dy / divisor',
      flops: 1,
    },
    device,
  );

/** 1 where x is the maximum y, else 0. Bindings x_data, maximum_data, y_data. */
export const tieMask: Kernel<SpreadProblem> = ({ shape, kept }, device) =>
  broadcastMap(
    {
      name: 'amax.backward/mask',
      shape,
      operands: { x: { shape }, maximum: { shape: kept } },
      formula: 'select(vec4f(0.0), vec4f(1.0), x == maximum)',
      flops: 1,
    },
    device,
  );

/** dx = dy / ties where x is the maximum, else 0. Bindings x_data, maximum_data, ties_data, dy_data, y_data (which is dx). */
export const tieGradient: Kernel<SpreadProblem> = ({ shape, kept }, device) =>
  broadcastMap(
    {
      name: 'amax.backward/share',
      shape,
      operands: { x: { shape }, maximum: { shape: kept }, ties: { shape: kept }, dy: { shape: kept } },
      formula: 'select(vec4f(0.0), dy / ties, x == maximum)',
      flops: 2,
    },
    device,
  );
