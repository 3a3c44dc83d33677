/**
 * Point operations and enhancements of 8-bit images with the very bytes of Pillow's ImageOps, ImageEnhance and
 * torchvision's adjust_hue (sources: Pillow ImageOps.py, ImageEnhance.py, Blend.c, Filter.c, Convert.c). Browser-safe.
 */
import type { RgbImage } from './dataset.ts';
import { addressOf, allocate, bytesAt, keptImage, kernels, newImage, wordsAt } from './wasm/memory.ts';

type Table = Uint8Array;

const table = (value: (level: number) => number): Table => Uint8Array.from({ length: 256 }, (_, level) => value(level));
const clip = (value: number): number => (value < 0 ? 0 : value > 255 ? 255 : value);

/** Every channel through its table (one table: the same for all three). */
const lookUp = (image: RgbImage, tables: readonly Table[]): RgbImage =>
  newImage(image.width, image.height, (out) => {
    const at = allocate(3 * 256);
    for (let channel = 0; channel < 3; channel++) bytesAt(at + channel * 256, 256).set(tables[channel % tables.length]);
    kernels().lookUp(addressOf(image), out, image.width * image.height, at);
  });

/** A table for each channel, made from the counts of its 256 levels. */
function perChannel(image: RgbImage, make: (counts: Uint32Array) => Table): RgbImage {
  return keptImage(() => {
    const at = allocate(3 * 256 * 4);
    kernels().histogram(addressOf(image), image.width * image.height, at);
    const counts = new Uint32Array(wordsAt(at, 3 * 256));
    return lookUp(
      image,
      [0, 1, 2].map((channel) => make(counts.subarray(channel * 256, channel * 256 + 256))),
    );
  });
}

const identity = table((level) => level);

/** Stretches the occupied range of each channel to 0..255. */
export const autoContrast = (image: RgbImage): RgbImage =>
  perChannel(image, (counts) => {
    const low = counts.findIndex((count) => count > 0);
    const high = counts.findLastIndex((count) => count > 0);
    if (high <= low) return identity;
    const scale = 255 / (high - low);
    const offset = -low * scale;
    return table((level) => clip(Math.trunc(level * scale + offset)));
  });

/** Makes the histogram of each channel as flat as a table of levels can. */
export const equalize = (image: RgbImage): RgbImage =>
  perChannel(image, (counts) => {
    const highest = counts.findLast((count) => count > 0) ?? 0;
    const step = Math.floor((image.width * image.height - highest) / 255);
    if (step === 0) return identity;
    let sum = Math.floor(step / 2);
    return table((level) => {
      const value = Math.floor(sum / step);
      sum += counts[level];
      return clip(value);
    });
  });

export const invert = (image: RgbImage): RgbImage => lookUp(image, [table((level) => 255 - level)]);

/** Inverts every level at or above `threshold`. */
export const solarize = (image: RgbImage, threshold: number): RgbImage =>
  lookUp(image, [table((level) => (level < threshold ? level : 255 - level))]);

/** Adds `amount` to every level under 128. */
export const solarizeAdd = (image: RgbImage, amount: number): RgbImage =>
  lookUp(image, [table((level) => (level < 128 ? Math.min(255, level + amount) : level))]);

/** Keeps the `bits` highest bits of every level (0: black; 8 or more: the image itself). */
export const posterize = (image: RgbImage, bits: number): RgbImage =>
  bits >= 8 ? image : lookUp(image, [table((level) => level & ~((1 << (8 - bits)) - 1) & 255)]);

/** degenerate + factor (image - degenerate) in single precision, clipped and truncated, where `degenerate` is one level. */
function blendWith(image: RgbImage, factor: number, degenerate: number): RgbImage {
  const alpha = Math.fround(factor);
  const blended = table((level) => clip(Math.fround(degenerate + Math.fround(alpha * (level - degenerate)))));
  return lookUp(image, [blended]);
}

/** Saturation: 0 is grey (luma), 1 the image itself. */
export const adjustColor = (image: RgbImage, factor: number): RgbImage =>
  newImage(image.width, image.height, (out) =>
    kernels().adjustColor(addressOf(image), out, image.width * image.height, factor),
  );

/** Contrast about the mean luma: 0 is that grey, 1 the image itself. */
export function adjustContrast(image: RgbImage, factor: number): RgbImage {
  const pixels = image.width * image.height;
  return keptImage(() => {
    const mean = Math.trunc(kernels().lumaSum(addressOf(image), pixels) / pixels + 0.5);
    return blendWith(image, factor, mean);
  });
}

/** Brightness: 0 is black, 1 the image itself. */
export const adjustBrightness = (image: RgbImage, factor: number): RgbImage => blendWith(image, factor, 0);

/** Sharpness: 0 is smoothed by (1 1 1; 1 5 1; 1 1 1) / 13, 1 the image itself, 2 sharpened. */
export const adjustSharpness = (image: RgbImage, factor: number): RgbImage =>
  newImage(image.width, image.height, (out) =>
    kernels().sharpen(addressOf(image), out, image.width, image.height, factor),
  );

/** Hue shifted by `shift` (of a full turn, -0.5 to 0.5) through Pillow's 8-bit HSV. */
export function adjustHue(image: RgbImage, shift: number): RgbImage {
  const offset = Math.trunc(shift * 255) & 255;
  const { width, height, data: source } = image;
  const data = new Uint8Array(source.length);
  for (let i = 0; i < data.length; i += 3) {
    const [hue, saturation, value] = toHsv(source[i], source[i + 1], source[i + 2]);
    data.set(fromHsv((hue + offset) & 255, saturation, value), i);
  }
  return { width, height, data };
}

function toHsv(red: number, green: number, blue: number): [number, number, number] {
  const { fround } = Math;
  const max = Math.max(red, green, blue);
  const range = max - Math.min(red, green, blue);
  if (range === 0) return [0, 0, max];
  const r = fround((max - red) / range);
  const g = fround((max - green) / range);
  const b = fround((max - blue) / range);
  const sector = fround(red === max ? b - g : green === max ? 2 + r - b : 4 + g - r);
  const hue = fround((sector / 6 + 1) % 1);
  return [clip(Math.trunc(hue * 255)), clip(Math.trunc(fround(range / max) * 255)), max];
}

function fromHsv(hue: number, saturation: number, value: number): [number, number, number] {
  if (saturation === 0) return [value, value, value];
  const sector = Math.floor((hue * 6) / 255);
  const fraction = Math.fround((hue * 6) / 255 - sector);
  const s = Math.fround(saturation / 255);
  const p = clip(Math.round(value * (1 - s)));
  const q = clip(Math.round(value * (1 - Math.fround(s * fraction))));
  const t = clip(Math.round(value * (1 - s * (1 - fraction))));
  switch (sector % 6) {
    case 0:
      return [value, t, p];
    case 1:
      return [q, value, p];
    case 2:
      return [p, value, t];
    case 3:
      return [p, q, value];
    case 4:
      return [t, p, value];
    default:
      return [value, p, q];
  }
}
