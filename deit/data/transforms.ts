/**
 * Crops, flips and normalization, and the evaluation transform of the DeiT checkpoints (sources: torchvision
 * transforms, timm transforms_factory, facebookresearch/deit datasets.py). Pictures in, pictures or floats out. Browser-safe.
 */
import { DeitError } from '../../engine/index.ts';
import type { PhiloxStream } from '../../engine/index.ts';
import type { RgbImage } from './dataset.ts';
import { resize } from './resize.ts';
import type { Interpolation } from './resize.ts';

/** Mean and standard deviation of red, green and blue on [0, 1]. */
export interface Normalization {
  mean: readonly [number, number, number];
  std: readonly [number, number, number];
}

/** Used by every DeiT checkpoint and by the RegNetY teachers. */
export const imagenetNormalization: Normalization = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** A rectangle of whole pixels. */
export interface Rect {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Python's `round`: halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The part of the image inside `rect`, which must lie within it. */
export function crop(image: RgbImage, rect: Rect): RgbImage {
  const { left, top, width, height } = rect;
  if (left < 0 || top < 0 || width < 1 || height < 1 || left + width > image.width || top + height > image.height) {
    throw new DeitError('bad-argument', 'The rectangle to cut out does not lie inside the image.', {
      where: `crop of ${image.width} x ${image.height}`,
      expected: 'a rectangle inside the image, with at least one pixel',
      found: `${width} x ${height} at (${left}, ${top})`,
    });
  }
  if (width === image.width && height === image.height) return image;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(from, from + width * 3), y * width * 3);
  }
  return { width, height, data };
}

/** The image with `padding` black pixels on every side. */
export function pad(image: RgbImage, padding: number): RgbImage {
  const width = image.width + 2 * padding;
  const height = image.height + 2 * padding;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < image.height; y++) {
    const row = image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3);
    data.set(row, ((y + padding) * width + padding) * 3);
  }
  return { width, height, data };
}

/** The image mirrored left to right. */
export function flipHorizontal(image: RgbImage): RgbImage {
  const { width, height } = image;
  const data = new Uint8Array(image.data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + (width - 1 - x)) * 3;
      const to = (y * width + x) * 3;
      data[to] = image.data[from];
      data[to + 1] = image.data[from + 1];
      data[to + 2] = image.data[from + 2];
    }
  }
  return { width, height, data };
}

/** torchvision's Resize(size): the shorter side becomes `size`, the longer one is truncated. */
export function resizeShorterSide(image: RgbImage, size: number, interpolation: Interpolation): RgbImage {
  const { width, height } = image;
  const isTall = width <= height;
  const longer = Math.trunc((size * Math.max(width, height)) / Math.min(width, height));
  return isTall ? resize(image, size, longer, interpolation) : resize(image, longer, size, interpolation);
}

/** Where the middle of an odd number of pixels is: to the even neighbour as in torchvision, or down as in transformers. */
export type CropRounding = 'even' | 'down';

/** torchvision's CenterCrop for an image that is at least size x size, or transformers'. */
export function centerCrop(image: RgbImage, size: number, rounding: CropRounding = 'even'): RgbImage {
  const round = rounding === 'even' ? roundHalfEven : Math.floor;
  const [left, top] = [round((image.width - size) / 2), round((image.height - size) / 2)];
  return crop(image, { left, top, width: size, height: size });
}

/** RandomCrop(size, padding) of torchvision: black border, then a uniformly placed square. */
export function randomPaddedCrop(image: RgbImage, size: number, padding: number, draws: PhiloxStream): RgbImage {
  const padded = pad(image, padding);
  if (padded.width < size || padded.height < size) {
    throw new DeitError('bad-data', 'An image is too small for the padded crop.', {
      expected: `at least ${size - 2 * padding} pixels on each side`,
      found: `${image.width} x ${image.height}`,
      fix: 'Use the random-resized crop, which scales images to the size of the model.',
    });
  }
  const top = draws.integer(padded.height - size + 1);
  const left = draws.integer(padded.width - size + 1);
  return crop(padded, { left, top, width: size, height: size });
}

/**
 * The rectangle of RandomResizedCrop: area uniform in `scale`, aspect log-uniform in `ratio`, ten tries; else the largest
 * central rectangle with the aspect clamped to `ratio`.
 */
export function randomResizedRect(
  width: number,
  height: number,
  scale: readonly [number, number],
  ratio: readonly [number, number],
  draws: PhiloxStream,
): Rect {
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = draws.uniform(scale[0], scale[1]) * width * height;
    const aspect = Math.exp(draws.uniform(Math.log(ratio[0]), Math.log(ratio[1])));
    const w = roundHalfEven(Math.sqrt(area * aspect));
    const h = roundHalfEven(Math.sqrt(area / aspect));
    if (w > 0 && h > 0 && w <= width && h <= height) {
      const top = draws.integer(height - h + 1);
      return { left: draws.integer(width - w + 1), top, width: w, height: h };
    }
  }
  const aspect = width / height;
  const w = aspect > ratio[1] ? Math.min(width, roundHalfEven(height * ratio[1])) : width;
  const h = aspect < ratio[0] ? Math.min(height, roundHalfEven(width / ratio[0])) : height;
  return { left: Math.floor((width - w) / 2), top: Math.floor((height - h) / 2), width: w, height: h };
}

/** The 256 normalized values of a channel, computed as PyTorch does: single precision, division after division. */
export function normalizationTables({ mean, std }: Normalization): readonly Float32Array[] {
  const { fround } = Math;
  return mean.map((m, channel) => {
    const offset = fround(m);
    const divisor = fround(std[channel]);
    return Float32Array.from({ length: 256 }, (_, level) => fround(fround(level / 255) - offset) / divisor);
  });
}

/** Writes the image as normalized planes [3, height, width] into `out` from `offset` on. */
export function writeChw(image: RgbImage, tables: readonly Float32Array[], out: Float32Array, offset = 0): void {
  const plane = image.width * image.height;
  for (let channel = 0; channel < 3; channel++) {
    const table = tables[channel];
    const start = offset + channel * plane;
    for (let i = 0; i < plane; i++) out[start + i] = table[image.data[3 * i + channel]];
  }
}

/** How a checkpoint wants its evaluation images. */
export interface EvaluationOptions {
  /** Side of the square that the model sees, in pixels. */
  imageSize: number;
  /** imageSize / cropPct, rounded down, is the size before the centre crop. DeiT's own evaluation: 0.875; timm: 0.9 (384: 1). */
  cropPct: number;
  interpolation: Interpolation;
  /** `shorter`: keep the aspect and cut; `squash`: both sides to the same size, as HF's processor does. */
  resizeMode: 'shorter' | 'squash';
  /** Default `even`. */
  cropRounding?: CropRounding;
}

/**
 * Resize and centre crop. Pictures of at most 32 pixels that already have the model's size are left alone, as DeiT does for CIFAR.
 */
export function evaluationCrop(image: RgbImage, options: EvaluationOptions): RgbImage {
  const { imageSize, cropPct, interpolation } = options;
  if (isSmallAndReady(image, imageSize)) return image;
  const size = Math.floor(imageSize / cropPct);
  const resized =
    options.resizeMode === 'squash'
      ? resize(image, size, size, interpolation)
      : resizeShorterSide(image, size, interpolation);
  return centerCrop(resized, imageSize, options.cropRounding);
}

/** True for pictures of CIFAR's kind, which DeiT neither resizes nor crops by area. */
export const isSmallAndReady = (image: RgbImage, imageSize: number): boolean =>
  imageSize <= 32 && image.width === imageSize && image.height === imageSize;
