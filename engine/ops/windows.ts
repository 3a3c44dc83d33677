import { DeitError } from '../../kernels/lib/errors.ts';
import type { WindowProblem } from '../../kernels/lib/window.ts';
import { expectFloat } from '../autocast.ts';
import { formatShape } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

/** One number for both directions, or height and width. */
export type Pair = number | readonly [height: number, width: number];

export interface PoolOptions {
  /** Pixels from one window to the next; that of the window if left out. */
  stride?: Pair;
  /** Rows and columns around the image; 0 if left out. At most half of the window. */
  padding?: Pair;
  /** Windows that begin inside the image or the padding before it, but reach beyond, count too. Default false. */
  ceilMode?: boolean;
}

const pair = (size: Pair): readonly [number, number] => (typeof size === 'number' ? [size, size] : size);

/** The windows of pooling over `size` pixels: PyTorch's count. */
function windowsAlong(size: number, reach: number, stride: number, padding: number, ceilMode: boolean): number {
  const steps = (size + 2 * padding - reach) / stride;
  if (!ceilMode) return Math.floor(steps) + 1;
  const count = Math.ceil(steps) + 1;
  // One that would begin in the padding behind the image, or beyond it, is none.
  return (count - 1) * stride >= size + padding ? count - 1 : count;
}

/** Sizes [height, width] or [down, across] of windows on the images x [B, C, H, W] or [C, H, W]. Throws unless there are any. */
export function windowsOn(
  x: Tensor,
  window: Pair,
  options: PoolOptions & { dilation?: Pair },
  where: string,
): WindowProblem {
  expectFloat(x, where);
  const { ceilMode = false } = options;
  const kernel = pair(window);
  const stride = pair(options.stride ?? window);
  const padding = pair(options.padding ?? 0);
  const dilation = pair(options.dilation ?? 1);
  const isWhole = (least: number) => (size: number) => Number.isInteger(size) && size >= least;
  if (
    ![...kernel, ...stride, ...dilation].every(isWhole(1)) ||
    !padding.every((size, i) => isWhole(0)(size) && 2 * size <= kernel[i])
  ) {
    throw new DeitError('bad-argument', 'These are no windows.', {
      where,
      expected: 'a window, a stride and a dilation of 1 or more, and a padding of at most half of the window',
      found: `window ${kernel.join(' x ')}, stride ${stride.join(' x ')}, padding ${padding.join(' x ')}, dilation ${dilation.join(' x ')}`,
    });
  }
  const [height, width] = x.shape.slice(-2);
  const reach = kernel.map((size, i) => (size - 1) * dilation[i] + 1);
  const along = (size: number, i: number): number => windowsAlong(size, reach[i], stride[i], padding[i], ceilMode);
  const [down, across] = [height, width].map(along);
  const problem = { height, width, kernel, stride, padding, dilation, windows: [down, across] as const };
  if ((x.rank !== 3 && x.rank !== 4) || x.size === 0 || down < 1 || across < 1 || isMissing(problem)) {
    throw new DeitError('shape-mismatch', 'The windows do not fit the images.', {
      where,
      expected: `[batch, channels, height, width] of at least ${reach.join(' x ')} pixels, padding included, and pixels in every window`,
      found: formatShape(x.shape),
    });
  }
  return { planes: x.size / (height * width), ...problem };
}

/** Whether a window has no pixel: all elements of a dilated one can lie in the padding. */
function isMissing({
  height,
  width,
  kernel,
  stride,
  padding,
  dilation,
  windows,
}: Omit<WindowProblem, 'planes'>): boolean {
  return [height, width].some((size, i) =>
    Array.from({ length: windows[i] }, (_, window) => window * stride[i] - padding[i]).some((first) => {
      const inside = first + Math.max(0, Math.ceil(-first / dilation[i])) * dilation[i];
      return inside >= Math.min(size, first + (kernel[i] - 1) * dilation[i] + 1);
    }),
  );
}

/** Of the results: one for each window. */
export const windowShape = (x: Shape, { windows }: WindowProblem): Shape => [...x.slice(0, -2), ...windows];
