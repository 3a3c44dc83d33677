import { convOutput, f16Bindings, forwardTaps, gradientTaps, splitImages } from './problem.ts';
import type { ConvForwardProblem, ConvProblem } from './problem.ts';
import type { ConvProduct } from './image-product.ts';
import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { range } from '../lib/unroll.ts';

/*
 * The two convolution passes that write an image: the forward pass, y from x (see ConvProblem), and the input gradient,
 *   dx[b, c, h, w] = sum over o, i, j of weight[o, c, i, j] * dy[b, o, (h + padding - i) / stride, (w + padding - j) / stride]
 * over the outputs for which the divisions are whole and in range. Both are one product (image-product.ts): a gradient with
 * stride s falls into s * s phases of pixels, each meeting its own taps, and each is a product with stride 1. Gradients are
 * written, not added.
 */

/** One product for each run of images. */
export function forwardProducts(p: ConvForwardProblem, device: DeviceProfile): ConvProduct[] {
  const [height, width] = convOutput(p);
  const taps = p.kernelHeight * p.kernelWidth;
  const depth = p.channels / p.groups;
  const rows = p.filters / p.groups;
  return splitImages(p, device, 'conv2d.forward').map(({ rows: batch, ranges }) => ({
    name: 'conv2d.forward',
    batch,
    groups: p.groups,
    depth,
    rows,
    source: { height: p.height, width: p.width },
    target: { height, width },
    names: { source: 'x', target: 'y' },
    pixels: { height, width },
    phase: { step: 1, y: 0, x: 0 },
    sourceStep: p.stride,
    direction: 1,
    tapsY: forwardTaps(p.height, height, p.kernelHeight, p.stride, p.padding),
    tapsX: forwardTaps(p.width, width, p.kernelWidth, p.stride, p.padding),
    kernelWidth: p.kernelWidth,
    weight: { group: rows * depth * taps, row: depth * taps, depth: taps },
    bias: p.bias,
    shortcut: p.shortcut ?? false,
    relu: p.relu ?? false,
    ranges: { source: ranges.x, target: ranges.y, shortcut: ranges.shortcut },
    f16: f16Bindings(p, { x: 'x', weight: 'weight', y: 'y' }),
  }));
}

/** One product for each run of images and phase that has pixels. */
export function gradientProducts(p: ConvProblem, device: DeviceProfile): ConvProduct[] {
  const [outHeight, outWidth] = convOutput(p);
  const taps = p.kernelHeight * p.kernelWidth;
  const depth = p.filters / p.groups;
  const rows = p.channels / p.groups;
  const pixels = (size: number, phase: number): number => Math.max(0, ceilDiv(size - phase, p.stride));
  const { stride, padding } = p;
  return splitImages(p, device, 'conv2d.input_gradient').flatMap(({ rows: batch, ranges }) =>
    range(stride ** 2).flatMap((phase): ConvProduct[] => {
      const [y, x] = [Math.floor(phase / stride), phase % stride];
      const [height, width] = [pixels(p.height, y), pixels(p.width, x)];
      if (height * width === 0) return [];
      const ofY = { pixels: height, outputs: outHeight, kernel: p.kernelHeight, stride, padding };
      const ofX = { pixels: width, outputs: outWidth, kernel: p.kernelWidth, stride, padding };
      return [
        {
          name: 'conv2d.input_gradient',
          batch,
          groups: p.groups,
          depth,
          rows,
          source: { height: outHeight, width: outWidth },
          target: { height: p.height, width: p.width },
          names: { source: 'dy', target: 'dx' },
          pixels: { height, width },
          phase: { step: stride, y, x },
          sourceStep: 1,
          direction: -1,
          tapsY: gradientTaps(ofY, y),
          tapsX: gradientTaps(ofX, x),
          kernelWidth: p.kernelWidth,
          weight: { group: rows * depth * taps, row: taps, depth: rows * taps },
          bias: false,
          shortcut: false,
          relu: false,
          ranges: { source: ranges.y, target: ranges.x },
          f16: f16Bindings(p, { dy: 'y', weight: 'weight', dx: 'x' }),
        },
      ];
    }),
  );
}
