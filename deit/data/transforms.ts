/**
 * Crops, flips and normalization, and the evaluation transform of the DeiT checkpoints (sources: torchvision
 * transforms, timm transforms_factory, facebookresearch/deit datasets.py). Pictures in, pictures or floats out. Browser-safe.
 */
import { DeitError } from '../../engine/index.ts';
import type { PhiloxStream } from '../../engine/index.ts';
import type { RgbImage } from './dataset.ts';
import { crop } from './crop.ts';
import type { Rect } from './crop.ts';
import { resize } from './resize.ts';
import type { Interpolation } from './resize.ts';
import { addressOf, allocate, floatsAt, inKernelMemory, kernels, newImage } from './wasm/memory.ts';

/** Mean and standard deviation of red, green and blue on [0, 1]. */
export interface Normalization {
  mean: readonly [number, number, number];
  std: readonly [number, number, number];
}

/** Used by every DeiT checkpoint and by the RegNetY teachers. */
export const imagenetNormalization: Normalization = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** Python's `round`: halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
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
export const flipHorizontal = (image: RgbImage): RgbImage =>
  newImage(image.width, image.height, (out) => kernels().flip(addressOf(image), out, image.width, image.height));

/** Size of an image of which the shorter side becomes `size`, as torchvision's Resize(size): the longer one is truncated. */
function shorterSide({ width, height }: Pick<RgbImage, 'width' | 'height'>, size: number): [number, number] {
  const longer = Math.trunc((size * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? [size, longer] : [longer, size];
}

/** torchvision's Resize(size). */
export const resizeShorterSide = (image: RgbImage, size: number, interpolation: Interpolation): RgbImage =>
  resize(image, ...shorterSide(image, size), interpolation);

/** Where the middle of an odd number of pixels is: to the even neighbour as in torchvision, or down as in transformers. */
export type CropRounding = 'even' | 'down';

/** torchvision's CenterCrop for an image that is at least size x size, or transformers'. */
export const centerCrop = (image: RgbImage, size: number, rounding: CropRounding = 'even'): RgbImage =>
  crop(image, centerRect(image.width, image.height, size, rounding));

function centerRect(width: number, height: number, size: number, rounding: CropRounding = 'even'): Rect {
  const round = rounding === 'even' ? roundHalfEven : Math.floor;
  return { left: round((width - size) / 2), top: round((height - size) / 2), width: size, height: size };
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
  const pixels = image.width * image.height;
  inKernelMemory(() => {
    const source = addressOf(image);
    const levels = allocate(3 * 256 * 4);
    const planes = allocate(3 * pixels * 4);
    tables.forEach((table, channel) => floatsAt(levels + channel * 1024, 256).set(table));
    kernels().planes(source, pixels, planes, levels);
    out.set(floatsAt(planes, 3 * pixels), offset);
  });
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
  const [width, height] = options.resizeMode === 'squash' ? [size, size] : shorterSide(image, size);
  const window = centerRect(width, height, imageSize, options.cropRounding);
  return resize(image, width, height, interpolation, undefined, window);
}

/** True for pictures of CIFAR's kind, which DeiT neither resizes nor crops by area. */
export const isSmallAndReady = (image: RgbImage, imageSize: number): boolean =>
  imageSize <= 32 && image.width === imageSize && image.height === imageSize;
