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
import { crop } from './crop.ts';
import type { Rect } from './crop.ts';
import { addressOf, allocate, kernels, newImage, wordsAt } from './wasm/memory.ts';

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
/** Weights are given to the kernels as two halves of 16 bits, of which the lower has so many. */
const lowBits = 11;

/** For the output positions from `begin` on: first input position, number of inputs, and `stride` fixed-point weights. */
interface Coefficients {
  first: Int32Array;
  count: Int32Array;
  weights: Int32Array;
  stride: number;
}

function coefficients(
  inputSize: number,
  [from, to]: readonly [number, number],
  outputSize: number,
  filter: Filter,
  [begin, end]: readonly [number, number],
): Coefficients {
  // Pillow subtracts in single precision.
  const scale = Math.fround(to - from) / outputSize;
  const filterScale = Math.max(scale, 1);
  const support = filter.support * filterScale;
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(end - begin);
  const count = new Int32Array(end - begin);
  const weights = new Int32Array((end - begin) * stride);
  const row = new Float64Array(stride);
  for (let out = begin; out < end; out++) {
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
      weights[(out - begin) * stride + i] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    first[out - begin] = start;
    count[out - begin] = length;
  }
  return { first, count, weights, stride };
}

/** An axis that is neither scaled nor cut: each output is its input. */
const unchanged = ([begin, end]: readonly [number, number]): Pick<Coefficients, 'first' | 'count'> => ({
  first: Int32Array.from({ length: end - begin }, (_, i) => begin + i),
  count: new Int32Array(end - begin).fill(1),
});

/**
 * The image (or the part of it in `box`) resized to width x height, and of that the part in `window`. Equal to Pillow's
 * `resize` byte by byte. Like Pillow, leaves an axis unfiltered that neither changes size nor is cropped. Of the image only
 * the pixels that the window needs are looked at, and decoded where that is still to be done.
 */
export function resize(
  image: RgbImage,
  width: number,
  height: number,
  interpolation: Interpolation,
  box: Box = [0, 0, image.width, image.height],
  window: Rect = { left: 0, top: 0, width, height },
): RgbImage {
  checkResize(image, width, height, box, window);
  // Pillow holds the box in single precision.
  const [left, top, right, bottom] = box.map(Math.fround);
  const filter = filters[interpolation];
  const isHorizontal = width !== image.width || left !== 0 || right !== width;
  const isVertical = height !== image.height || top !== 0 || bottom !== height;
  const across = [window.left, window.left + window.width] as const;
  const down = [window.top, window.top + window.height] as const;
  const columns = isHorizontal ? coefficients(image.width, [left, right], width, filter, across) : undefined;
  const rows = isVertical ? coefficients(image.height, [top, bottom], height, filter, down) : undefined;
  return newImage(window.width, window.height, (out) => {
    const used = usedRect(columns ?? unchanged(across), rows ?? unchanged(down));
    const source = crop(image, used);
    const from = addressOf(source);
    const isColumnsLast = rows && columns && verticalFirst(image, width, height);
    if (!columns && !rows) kernels().copy(from, out, window.width * window.height * 3);
    else if (!rows) resizeColumns(from, source, columns!, used.left, out);
    else if (!columns) resizeRows(from, source.width, rows, used.top, out);
    else if (isColumnsLast) {
      const between = allocate(source.width * window.height * 3);
      resizeRows(from, source.width, rows, used.top, between);
      resizeColumns(between, { width: source.width, height: window.height }, columns, used.left, out);
    } else {
      const between = allocate(window.width * source.height * 3);
      resizeColumns(from, source, columns, used.left, between);
      resizeRows(between, window.width, rows, used.top, out);
    }
  });
}

const verticalFirst = (image: RgbImage, width: number, height: number): boolean =>
  height < image.height && image.height - height > 2 * (image.width - width);

type Inputs = Pick<Coefficients, 'first' | 'count'>;

/** The pixels that the coefficients read. */
function usedRect(columns: Inputs, rows: Inputs): Rect {
  const range = ({ first, count }: Inputs): [number, number] => [
    first[0],
    first[first.length - 1] + count[count.length - 1] - first[0],
  ];
  const [left, width] = range(columns);
  const [top, height] = range(rows);
  return { left, top, width, height };
}

function resizeColumns(
  source: number,
  size: Pick<RgbImage, 'width' | 'height'>,
  columns: Coefficients,
  begin: number,
  out: number,
): void {
  const { address, pairs } = packed(columns, begin);
  kernels().resizeColumns(source, size.width, size.height, out, columns.first.length, address, pairs);
}

function resizeRows(source: number, width: number, rows: Coefficients, begin: number, out: number): void {
  const { address, pairs } = packed(rows, begin);
  kernels().resizeRows(source, width * 3, out, rows.first.length, address, pairs);
}

/** The coefficients as the kernels read them (wasm/assembly/resize.ts), for inputs of which `begin` is the first. */
function packed({ first, count, weights, stride }: Coefficients, begin: number): { address: number; pairs: number } {
  const pairs = (stride + 1) >> 1;
  const step = 2 + 2 * pairs;
  const address = allocate(first.length * step * 4);
  const words = wordsAt(address, first.length * step);
  const lowMask = (1 << lowBits) - 1;
  for (let out = 0; out < first.length; out++) {
    const at = out * step;
    const own = (count[out] + 1) >> 1;
    words[at] = first[out] - begin;
    words[at + 1] = own;
    for (let pair = 0; pair < own; pair++) {
      const a = weights[out * stride + 2 * pair];
      const b = 2 * pair + 1 < count[out] ? weights[out * stride + 2 * pair + 1] : 0;
      words[at + 2 + 2 * pair] = ((a >> lowBits) & 0xffff) | ((b >> lowBits) << 16);
      words[at + 3 + 2 * pair] = (a & lowMask) | ((b & lowMask) << 16);
    }
  }
  return { address, pairs };
}

function checkResize(image: RgbImage, width: number, height: number, box: Box, window: Rect): void {
  const [left, top, right, bottom] = box;
  const isBoxInside = left >= 0 && top >= 0 && right <= image.width && bottom <= image.height;
  const isWindowInside =
    window.left >= 0 && window.top >= 0 && window.left + window.width <= width && window.top + window.height <= height;
  const isWhole = [width, height, ...(Object.values(window) as number[])].every(Number.isInteger);
  const isFull = [width, height, window.width, window.height, right - left, bottom - top].every((n) => n > 0);
  if (isWhole && isFull && isBoxInside && isWindowInside) return;
  throw new DeitError('bad-argument', 'An image cannot be resized like this.', {
    where: `resize of ${image.width} x ${image.height}`,
    expected: 'a positive integer size, and a box that is not empty and lies inside the image',
    found: `size ${width} x ${height}, box ${box.join(', ')}`,
  });
}
