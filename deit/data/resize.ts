/**
 * Antialiased resizing with the very bytes of Pillow's Image.resize for 8-bit images (source: Pillow, Resample.c).
 * Two passes; coefficients in 22-bit fixed point; the result of each pass is rounded and clipped to 8 bits. The
 * filter's support grows with the reduction factor, which is what "antialiased" means. Browser-safe.
 *
 * The order of the passes shows in single levels. It is Pillow 13's: horizontal first, unless the height loses more
 * than twice as many pixels as the width. Pillow up to 12 is always horizontal first; both agree on every photo that is
 * reduced with its aspect kept, unless it is more than twice as tall as wide.
 */
import { DeitError } from '../../engine/index.ts';
import type { RgbImage } from './dataset.ts';

export type Interpolation = 'bilinear' | 'bicubic';

/** A part of the source in pixels (may be fractional): left, top, right, bottom. */
export type Box = readonly [number, number, number, number];

interface Filter {
  support: number;
  weight(distance: number): number;
}

const filters: Record<Interpolation, Filter> = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  // Keys' cubic convolution with a = -0.5 (PyTorch's own bicubic has -0.75).
  bicubic: {
    support: 2,
    weight: (distance) => {
      const x = Math.abs(distance);
      if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
      if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
      return 0;
    },
  },
};

/** 32 bits less 8 for the result and 2 for the overshoot of negative lobes. */
const precisionBits = 22;
const half = 1 << (precisionBits - 1);

/** For every output position: first input position, number of inputs, and `stride` fixed-point weights. */
interface Coefficients {
  first: Int32Array;
  count: Int32Array;
  weights: Int32Array;
  stride: number;
}

function coefficients(inputSize: number, from: number, to: number, outputSize: number, filter: Filter): Coefficients {
  // Pillow subtracts in single precision.
  const scale = Math.fround(to - from) / outputSize;
  const filterScale = Math.max(scale, 1);
  const support = filter.support * filterScale;
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(outputSize);
  const count = new Int32Array(outputSize);
  const weights = new Int32Array(outputSize * stride);
  const row = new Float64Array(stride);
  for (let out = 0; out < outputSize; out++) {
    const center = from + (out + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const length = Math.min(inputSize, Math.trunc(center + support + 0.5)) - start;
    let sum = 0;
    for (let i = 0; i < length; i++) {
      row[i] = filter.weight((i + start - center + 0.5) * (1 / filterScale));
      sum += row[i];
    }
    for (let i = 0; i < length; i++) {
      const scaled = (sum === 0 ? row[i] : row[i] / sum) * (1 << precisionBits);
      weights[out * stride + i] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    first[out] = start;
    count[out] = length;
  }
  return { first, count, weights, stride };
}

const clip8 = (fixed: number): number => {
  const value = fixed >> precisionBits;
  return value < 0 ? 0 : value > 255 ? 255 : value;
};

/**
 * The image (or the part of it in `box`) resized to width x height. Equal to Pillow's `resize` byte by byte.
 * Like Pillow, returns an unfiltered copy of an axis that neither changes size nor is cropped.
 */
export function resize(
  image: RgbImage,
  width: number,
  height: number,
  interpolation: Interpolation,
  box: Box = [0, 0, image.width, image.height],
): RgbImage {
  checkResize(image, width, height, box);
  // Pillow holds the box in single precision.
  const [left, top, right, bottom] = box.map(Math.fround);
  const filter = filters[interpolation];
  const columns = coefficients(image.width, left, right, width, filter);
  const rows = coefficients(image.height, top, bottom, height, filter);
  const isHorizontal = width !== image.width || left !== 0 || right !== width;
  const isVertical = height !== image.height || top !== 0 || bottom !== height;
  if (isHorizontal && isVertical) {
    return verticalFirst(image, width, height)
      ? resizeColumns(resizeRows(image, rows), columns)
      : resizeRows(resizeColumns(image, columns, usedInputs(rows)), rows);
  }
  if (isHorizontal) return resizeColumns(image, columns);
  if (isVertical) return resizeRows(image, rows);
  return { ...image, data: new Uint8Array(image.data) }; // not slice(): a Buffer's shares its memory
}

const verticalFirst = (image: RgbImage, width: number, height: number): boolean =>
  height < image.height && image.height - height > 2 * (image.width - width);

/** First and last + 1 of the inputs that the coefficients read. */
const usedInputs = ({ first, count }: Coefficients): [number, number] => [first[0], first.at(-1)! + count.at(-1)!];

/** The horizontal pass. Rows outside [top, bottom) are left unwritten, since nobody will read them. */
function resizeColumns(image: RgbImage, c: Coefficients, [top, bottom] = [0, image.height]): RgbImage {
  const source = image.data;
  const width = c.first.length;
  const data = new Uint8Array(width * image.height * 3);
  let out = top * width * 3;
  for (let y = top; y < bottom; y++) {
    const line = y * image.width;
    for (let x = 0; x < width; x++) {
      let red = half;
      let green = half;
      let blue = half;
      const weight = x * c.stride;
      let pixel = (line + c.first[x]) * 3;
      for (let i = 0; i < c.count[x]; i++, pixel += 3) {
        const w = c.weights[weight + i];
        red += source[pixel] * w;
        green += source[pixel + 1] * w;
        blue += source[pixel + 2] * w;
      }
      data[out++] = clip8(red);
      data[out++] = clip8(green);
      data[out++] = clip8(blue);
    }
  }
  return { width, height: image.height, data };
}

/** The vertical pass. */
function resizeRows(image: RgbImage, c: Coefficients): RgbImage {
  const source = image.data;
  const height = c.first.length;
  const stride = image.width * 3;
  const data = new Uint8Array(stride * height);
  const sums = new Int32Array(stride);
  for (let y = 0; y < height; y++) {
    sums.fill(half);
    for (let i = 0; i < c.count[y]; i++) {
      const w = c.weights[y * c.stride + i];
      const line = (c.first[y] + i) * stride;
      for (let x = 0; x < stride; x++) sums[x] += source[line + x] * w;
    }
    for (let x = 0; x < stride; x++) data[y * stride + x] = clip8(sums[x]);
  }
  return { width: image.width, height, data };
}

function checkResize(image: RgbImage, width: number, height: number, box: Box): void {
  const [left, top, right, bottom] = box;
  const isBoxInside = left >= 0 && top >= 0 && right <= image.width && bottom <= image.height;
  if ([width, height].every((n) => Number.isInteger(n) && n > 0) && isBoxInside && left < right && top < bottom) return;
  throw new DeitError('bad-argument', 'An image cannot be resized like this.', {
    where: `resize of ${image.width} x ${image.height}`,
    expected: 'a positive integer size, and a box that is not empty and lies inside the image',
    found: `size ${width} x ${height}, box ${box.join(', ')}`,
  });
}
