/** Pictures of numbers: colours, and attention maps over photos. Browser-safe. */
import type { RgbImage } from '../data/index.ts';
import { resize } from '../data/index.ts';

/** Nodes of matplotlib's `inferno`, evenly spaced: dark is little, light is much, and lightness rises throughout. */
const INFERNO = [
  [0, 0, 4],
  [31, 12, 72],
  [85, 15, 109],
  [136, 34, 106],
  [186, 54, 85],
  [227, 89, 51],
  [249, 140, 10],
  [249, 201, 50],
  [252, 255, 164],
] as const;

/** Colour of a value in [0, 1]; values outside are clamped. */
export function heatColor(value: number): [number, number, number] {
  const place = Math.min(1, Math.max(0, value)) * (INFERNO.length - 1);
  const node = Math.min(INFERNO.length - 2, Math.floor(place));
  const part = place - node;
  const mix = (channel: 0 | 1 | 2): number =>
    Math.round(INFERNO[node][channel] * (1 - part) + INFERNO[node + 1][channel] * part);
  return [mix(0), mix(1), mix(2)];
}

/** Of all values that a picture can have. */
const LEVELS = Array.from({ length: 256 }, (_, level) => heatColor(level / 255));

/**
 * A square map (side x side, row by row) over a photo of any size, scaled so that its smallest value has the darkest
 * colour and its largest the lightest. Where the map is low, more of the photo shows.
 */
export function overlay(photo: RgbImage, map: ArrayLike<number>, side: number): RgbImage {
  const heat = resizeMap(map, side, photo.width, photo.height);
  const data = new Uint8Array(photo.data.length);
  for (let i = 0; i < data.length; i++) {
    const level = heat[i];
    const share = 0.35 + (0.4 * level) / 255;
    data[i] = Math.round(photo.data[i] * (1 - share) + LEVELS[level][i % 3] * share);
  }
  return { width: photo.width, height: photo.height, data };
}

/** The map, from 0 to 255, at the size of a photo, three times a pixel. */
function resizeMap(map: ArrayLike<number>, side: number, width: number, height: number): Uint8Array {
  const values = Array.from(map);
  const least = values.reduce((a, b) => Math.min(a, b));
  const range = values.reduce((a, b) => Math.max(a, b)) - least || 1;
  const grey = new Uint8Array(3 * side * side);
  for (let i = 0; i < side * side; i++) grey.fill(Math.round((255 * (values[i] - least)) / range), 3 * i, 3 * i + 3);
  return resize({ width: side, height: side, data: grey }, width, height, 'bicubic').data;
}

/** Pictures of one size side by side in rows, `gap` white pixels between them. */
export function tile(rows: readonly (readonly RgbImage[])[], gap = 4): RgbImage {
  const [{ width, height }] = rows[0];
  const columns = Math.max(...rows.map((row) => row.length));
  const total = {
    width: columns * (width + gap) - gap,
    height: rows.length * (height + gap) - gap,
  };
  const data = new Uint8Array(3 * total.width * total.height).fill(255);
  rows.forEach((row, r) =>
    row.forEach((picture, c) => {
      for (let y = 0; y < height; y++) {
        const to = 3 * ((r * (height + gap) + y) * total.width + c * (width + gap));
        data.set(picture.data.subarray(3 * y * width, 3 * (y + 1) * width), to);
      }
    }),
  );
  return { ...total, data };
}
