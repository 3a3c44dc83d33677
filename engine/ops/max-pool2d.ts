import { gatherElements } from '../../kernels/gather/index.ts';
import type { WindowProblem } from '../../kernels/lib/window.ts';
import { maxPool2dGradient, maxPool2dIndex } from '../../kernels/max-pool2d/index.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { INVALID } from './index-select.ts';
import { windowShape, windowsOn } from './windows.ts';
import type { Pair, PoolOptions } from './windows.ts';

export interface MaxPoolOptions extends PoolOptions {
  /** Pixels from one element of the window to the next; default 1. */
  dilation?: Pair;
}

const maxPoolOp = defineOp<WindowProblem>({
  name: 'maxPool2d',
  forward(ctx, [x]) {
    const problem = ctx.attributes;
    const { planes, height, width, windows } = problem;
    const index = ctx.empty(windowShape(x!.shape, problem), 'i32');
    ctx.run(maxPool2dIndex, problem, { x: x!, y: index });
    const y = ctx.empty(index.shape);
    const lines = { outer: planes, length: height * width, inner: 1, count: windows[0] * windows[1] };
    ctx.run(gatherElements, { ...lines, invalid: INVALID.f32 }, { x: x!, index, y });
    ctx.save(index);
    return [y];
  },
  backward(ctx, [dy]) {
    ctx.run(maxPool2dGradient, ctx.attributes, { dy: dy!, index: ctx.saved[0], y: ctx.gradient(0) });
  },
});

/**
 * The largest pixel of each window of the images x [B, C, H, W]: [B, C, (H + 2 padding - reach) / stride + 1, ...] with reach =
 * (window - 1) dilation + 1, rounded down, or up with `ceilMode`. Of equal pixels the first has the gradient. PyTorch's `F.max_pool2d`.
 */
export function maxPool2d(x: Tensor, window: Pair, options: MaxPoolOptions = {}): Tensor {
  return maxPoolOp([x], windowsOn(x, window, options, 'maxPool2d'))[0];
}
