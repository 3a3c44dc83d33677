/**
 * Point operations and enhancements of 8-bit images with the very bytes of Pillow's ImageOps, ImageEnhance and
 * torchvision's adjust_hue (sources: Pillow ImageOps.py, ImageEnhance.py, Blend.c, Filter.c, Convert.c). Browser-safe.
 */
import type { RgbImage } from './dataset.ts';

type Table = Uint8Array;

const table = (value: (level: number) => number): Table => Uint8Array.from({ length: 256 }, (_, level) => value(level));
const clip = (value: number): number => (value < 0 ? 0 : value > 255 ? 255 : value);

/** Every channel through its table (one table: the same for all three). */
function lookUp(image: RgbImage, tables: readonly Table[]): RgbImage {
  const data = new Uint8Array(image.data.length);
  for (let channel = 0; channel < 3; channel++) {
    const lut = tables[channel % tables.length];
    for (let i = channel; i < data.length; i += 3) data[i] = lut[image.data[i]];
  }
  return { ...image, data };
}

/** Counts of the 256 levels of one channel. */
function histogram(image: RgbImage, channel: number): Uint32Array {
  const counts = new Uint32Array(256);
  for (let i = channel; i < image.data.length; i += 3) counts[image.data[i]]++;
  return counts;
}

const perChannel = (image: RgbImage, make: (counts: Uint32Array) => Table): RgbImage =>
  lookUp(
    image,
    [0, 1, 2].map((channel) => make(histogram(image, channel))),
  );

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

/** Luma as Pillow rounds it: (19595 R + 38470 G + 7471 B + 2^15) / 2^16. */
const luma = (data: Uint8Array, i: number): number =>
  (data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16;

/**
 * degenerate + factor (image - degenerate) in single precision, clipped and truncated; `degenerate` gives the byte at an
 * index of the image's data.
 */
function blend(image: RgbImage, factor: number, degenerate: (i: number) => number): RgbImage {
  const alpha = Math.fround(factor);
  const data = new Uint8Array(image.data.length);
  for (let i = 0; i < data.length; i++) {
    const from = degenerate(i);
    data[i] = clip(Math.fround(from + Math.fround(alpha * (image.data[i] - from))));
  }
  return { ...image, data };
}

/** Saturation: 0 is grey, 1 the image itself. */
export function adjustColor(image: RgbImage, factor: number): RgbImage {
  const grey = new Uint8Array(image.width * image.height);
  for (let i = 0; i < grey.length; i++) grey[i] = luma(image.data, 3 * i);
  return blend(image, factor, (i) => grey[Math.trunc(i / 3)]);
}

/** Contrast about the mean luma: 0 is that grey, 1 the image itself. */
export function adjustContrast(image: RgbImage, factor: number): RgbImage {
  let sum = 0;
  for (let i = 0; i < image.data.length; i += 3) sum += luma(image.data, i);
  const mean = Math.trunc(sum / (image.width * image.height) + 0.5);
  return blend(image, factor, () => mean);
}

/** Brightness: 0 is black, 1 the image itself. */
export const adjustBrightness = (image: RgbImage, factor: number): RgbImage => blend(image, factor, () => 0);

/** Sharpness: 0 is smoothed by (1 1 1; 1 5 1; 1 1 1) / 13, 1 the image itself, 2 sharpened. */
export function adjustSharpness(image: RgbImage, factor: number): RgbImage {
  const smooth = smoothed(image);
  return blend(image, factor, (i) => smooth[i]);
}

const edgeWeight = Math.fround(1 / 13);
const centerWeight = Math.fround(5 / 13);

/** The 3 x 3 smoothing filter in Pillow's order of single-precision sums; border pixels stay as they are. */
function smoothed(image: RgbImage): Uint8Array {
  const { width, height, data: source } = image;
  const { fround } = Math;
  const stride = width * 3;
  const data = new Uint8Array(source); // not slice(): a Buffer's shares its memory
  const row = (i: number, center: number): number =>
    fround(
      fround(fround(source[i - 3] * edgeWeight) + fround(source[i] * center)) + fround(source[i + 3] * edgeWeight),
    );
  for (let y = 1; y < height - 1; y++) {
    for (let i = y * stride + 3; i < (y + 1) * stride - 3; i++) {
      const below = fround(0.5 + row(i + stride, edgeWeight));
      const sum = fround(fround(below + row(i, centerWeight)) + row(i - stride, edgeWeight));
      data[i] = clip(sum);
    }
  }
  return data;
}

/** Hue shifted by `shift` (of a full turn, -0.5 to 0.5) through Pillow's 8-bit HSV. */
export function adjustHue(image: RgbImage, shift: number): RgbImage {
  const offset = Math.trunc(shift * 255) & 255;
  const data = new Uint8Array(image.data.length);
  for (let i = 0; i < data.length; i += 3) {
    const [hue, saturation, value] = toHsv(image.data[i], image.data[i + 1], image.data[i + 2]);
    data.set(fromHsv((hue + offset) & 255, saturation, value), i);
  }
  return { ...image, data };
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
