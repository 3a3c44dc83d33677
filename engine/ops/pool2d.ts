import { avgPool2d as avgKernel, avgPool2dGradient } from '../../kernels/avg-pool2d/index.ts';
import type { AvgPool2dProblem } from '../../kernels/avg-pool2d/index.ts';
import { gatherElements } from '../../kernels/gather/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import type { WindowProblem } from '../../kernels/lib/window.ts';
import { maxPool2dGradient, maxPool2dIndex } from '../../kernels/max-pool2d/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { formatShape } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { INVALID } from './index-select.ts';

/** One number for both directions, or height and width. */
type Pair = number | readonly [height: number, width: number];

export interface PoolOptions {
  /** Pixels from one window to the next; that of the window if left out. */
  stride?: Pair;
  /** Rows and columns around the image; 0 if left out. At most half of the window. */
  padding?: Pair;
}

const pair = (size: Pair): readonly [number, number] => (typeof size === 'number' ? [size, size] : size);

/** Throws unless there are windows on the images x [B, C, H, W] or [C, H, W]. */
function windowsOn(x: Tensor, window: Pair, options: PoolOptions, where: string): WindowProblem {
  expectFloat(x, where);
  const kernel = pair(window);
  const stride = pair(options.stride ?? window);
  const padding = pair(options.padding ?? 0);
  const isWhole = (least: number) => (size: number) => Number.isInteger(size) && size >= least;
  if (
    ![...kernel, ...stride].every(isWhole(1)) ||
    !padding.every((size, i) => isWhole(0)(size) && 2 * size <= kernel[i])
  ) {
    throw new DeitError('bad-argument', 'These are no windows.', {
      where,
      expected: 'a window and a stride of 1 or more, and a padding of at most half of the window',
      found: `window ${kernel.join(' x ')}, stride ${stride.join(' x ')}, padding ${padding.join(' x ')}`,
    });
  }
  const [height, width] = x.shape.slice(-2);
  const windows = [height, width].map((size, i) => Math.floor((size + 2 * padding[i] - kernel[i]) / stride[i]) + 1);
  if ((x.rank !== 3 && x.rank !== 4) || x.size === 0 || windows.some((count) => count < 1)) {
    throw new DeitError('shape-mismatch', 'The windows do not fit the images.', {
      where,
      expected: `[batch, channels, height, width] of at least ${kernel.join(' x ')} pixels, padding included`,
      found: formatShape(x.shape),
    });
  }
  const [down, across] = windows;
  return { planes: x.size / (height * width), height, width, kernel, stride, padding, windows: [down, across] };
}

const shapeOf = (x: Shape, { windows }: WindowProblem): Shape => [...x.slice(0, -2), ...windows];

const maxPoolOp = defineOp<WindowProblem>({
  name: 'maxPool2d',
  forward(ctx, [x]) {
    const problem = ctx.attributes;
    const { planes, height, width, windows } = problem;
    const index = ctx.empty(shapeOf(x!.shape, problem), 'i32');
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
 * The largest pixel of each window of the images x [B, C, H, W]: [B, C, (H + 2 padding - window) / stride + 1, ...], rounded down.
 * Of equal pixels the first has the gradient. PyTorch's `F.max_pool2d`, without dilation and `ceil_mode`.
 */
export function maxPool2d(x: Tensor, window: Pair, options: PoolOptions = {}): Tensor {
  return maxPoolOp([x], windowsOn(x, window, options, 'maxPool2d'))[0];
}

const avgPoolOp = defineOp<AvgPool2dProblem>({
  name: 'avgPool2d',
  forward(ctx, [x]) {
    const y = ctx.empty(shapeOf(x!.shape, ctx.attributes));
    ctx.run(avgKernel, ctx.attributes, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    ctx.run(avgPool2dGradient, ctx.attributes, { dy: dy!, y: ctx.gradient(0) });
  },
});

/**
 * The mean of each window of the images x, which are as those of `maxPool2d`. `countIncludePad: false` leaves the padding out
 * of the count that the sum is divided by. PyTorch's `F.avg_pool2d`, without `ceil_mode`.
 */
export function avgPool2d(x: Tensor, window: Pair, options: PoolOptions & { countIncludePad?: boolean } = {}): Tensor {
  const { countIncludePad = true, ...rest } = options;
  return avgPoolOp([x], { ...windowsOn(x, window, rest, 'avgPool2d'), countIncludePad })[0];
}
