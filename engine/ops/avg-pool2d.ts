import { avgPool2d as avgKernel, avgPool2dGradient } from '../../kernels/avg-pool2d/index.ts';
import type { AvgPool2dProblem } from '../../kernels/avg-pool2d/index.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { windowShape, windowsOn } from './windows.ts';
import type { Pair, PoolOptions } from './windows.ts';

export interface AvgPoolOptions extends PoolOptions {
  /** Whether the sum is divided by the count of padding too; default true. */
  countIncludePad?: boolean;
}

const avgPoolOp = defineOp<AvgPool2dProblem>({
  name: 'avgPool2d',
  forward(ctx, [x]) {
    const y = ctx.empty(windowShape(x!.shape, ctx.attributes));
    ctx.run(avgKernel, ctx.attributes, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    ctx.run(avgPool2dGradient, ctx.attributes, { dy: dy!, y: ctx.gradient(0) });
  },
});

/**
 * The mean of each window of the images x, which are as those of `maxPool2d`. `countIncludePad: false` leaves the padding out
 * of the count that the sum is divided by. PyTorch's `F.avg_pool2d`.
 */
export function avgPool2d(x: Tensor, window: Pair, options: AvgPoolOptions = {}): Tensor {
  const { countIncludePad = true, ...rest } = options;
  return avgPoolOp([x], { ...windowsOn(x, window, rest, 'avgPool2d'), countIncludePad })[0];
}
