import { interpolate as interpolateKernel, interpolateGradient } from '../../kernels/interpolate/index.ts';
import type { InterpolateProblem, InterpolationMode } from '../../kernels/interpolate/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { formatShape, numel } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

/** One direction of it. */
const interpolateOp = defineOp<{ dim: number; problem: InterpolateProblem }>({
  name: 'interpolate',
  forward(ctx, [x]) {
    const { dim, problem } = ctx.attributes;
    const y = ctx.empty(x!.shape.map((size, d) => (d === dim ? problem.size : size)));
    ctx.run(interpolateKernel, problem, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    ctx.run(interpolateGradient, ctx.attributes.problem, { dy: dy!, y: ctx.gradient(0) });
  },
});

export interface InterpolateOptions {
  /** Height and width of the result, or one number for both. */
  size?: number | readonly [height: number, width: number];
  /** Instead of a size: what height and width are multiplied by, rounded down. */
  scaleFactor?: number;
  mode?: InterpolationMode;
  /** Whether the centres of the corner pixels lie on each other, not the corners of the images. */
  alignCorners?: boolean;
}

const MODES: readonly string[] = ['nearest', 'bilinear', 'bicubic'];

/**
 * Images x [B, C, H, W] at another size, `nearest` if no mode is given. PyTorch's `F.interpolate` without `antialias`; with a
 * `scaleFactor` as with `recompute_scale_factor=True`.
 */
export function interpolate(x: Tensor, options: InterpolateOptions): Tensor {
  expectFloat(x, 'interpolate');
  const { size, scaleFactor, mode = 'nearest', alignCorners = false } = options;
  if (x.rank !== 4 || x.size === 0) {
    throw new DeitError('shape-mismatch', 'Images are [batch, channels, height, width].', {
      where: 'interpolate',
      found: formatShape(x.shape),
    });
  }
  const [height, width] = x.shape.slice(2);
  const scaled =
    scaleFactor === undefined ? size : ([height, width].map((n) => Math.floor(n * scaleFactor)) as [number, number]);
  const sizes = typeof scaled === 'number' ? [scaled, scaled] : scaled;
  const isGiven = (size === undefined) !== (scaleFactor === undefined) && sizes?.length === 2;
  if (!isGiven || !sizes.every((n) => Number.isInteger(n) && n > 0) || !MODES.includes(mode)) {
    throw new DeitError('bad-argument', 'There is no such interpolation.', {
      where: 'interpolate',
      expected: `a size or a scaleFactor for at least one pixel, and one of the modes ${MODES.join(', ')}`,
      found: JSON.stringify({ size, scaleFactor, mode }),
    });
  }
  if (alignCorners && mode === 'nearest') {
    throw new DeitError('bad-argument', 'alignCorners goes with bilinear and bicubic.', {
      where: 'interpolate',
      found: mode,
    });
  }
  return [2, 3].reduce((image, dim) => {
    const { shape } = image;
    const length = shape[dim];
    const target = sizes[dim - 2];
    if (length === target) return image;
    const around = { outer: numel(shape.slice(0, dim)), inner: numel(shape.slice(dim + 1)) };
    return interpolateOp([image], { dim, problem: { ...around, length, size: target, mode, alignCorners } })[0];
  }, x);
}
