/**
 * Affine maps of 8-bit images with the very bytes of Pillow's Image.transform(size, AFFINE, ..., fillcolor=...) and
 * Image.rotate (source: Pillow, Geometry.c and Image.py). Not antialiased: a 4 x 4 (bicubic) or 2 x 2 (bilinear)
 * neighbourhood at a real position, result truncated. Browser-safe.
 */
import type { RgbImage } from './dataset.ts';
import type { Interpolation } from './resize.ts';

export type Rgb = readonly [number, number, number];

/** (a, b, c, d, e, f): output pixel (x, y) reads the input at (a x + b y + c, d x + e y + f), pixel centres at + 0.5. */
export type Matrix = readonly [number, number, number, number, number, number];

/** The image mapped through `matrix`, of the same size; what comes from outside the image is `fill`. */
export function affine(image: RgbImage, matrix: Matrix, interpolation: Interpolation, fill: Rgb): RgbImage {
  const { width, height } = image;
  const [a, b, c, d, e, f] = matrix;
  const data = new Uint8Array(width * height * 3);
  const sample = interpolation === 'bicubic' ? sampleBicubic : sampleBilinear;
  let out = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++, out += 3) {
      const sourceX = a * (x + 0.5) + b * (y + 0.5) + c;
      const sourceY = d * (x + 0.5) + e * (y + 0.5) + f;
      if (sourceX < 0 || sourceX >= width || sourceY < 0 || sourceY >= height) data.set(fill, out);
      else sample(image, sourceX - 0.5, sourceY - 0.5, data, out);
    }
  }
  return { width, height, data };
}

const clamp = (value: number, size: number): number => (value < 0 ? 0 : value < size ? value : size - 1);

function sampleBilinear(image: RgbImage, x: number, y: number, data: Uint8Array, out: number): void {
  const { width, height, data: source } = image;
  const column = Math.floor(x);
  const row = Math.floor(y);
  const dx = x - column;
  const dy = y - row;
  const left = clamp(column, width) * 3;
  const right = clamp(column + 1, width) * 3;
  const top = clamp(row, height) * width * 3;
  const bottom = row + 1 < height ? (row + 1) * width * 3 : top;
  for (let p = 0; p < 3; p++) {
    const upper = linear(source[top + left + p], source[top + right + p], dx);
    const lower = linear(source[bottom + left + p], source[bottom + right + p], dx);
    data[out + p] = linear(upper, lower, dy);
  }
}

const linear = (a: number, b: number, d: number): number => a + (b - a) * d;

function cubic(v1: number, v2: number, v3: number, v4: number, d: number): number {
  // Horner's form in Pillow's order: the truncation to 8 bits shows the last bit of the rounding.
  const p2 = -v1 + v3;
  const p3 = 2 * (v1 - v2) + v3 - v4;
  const p4 = -v1 + v2 - v3 + v4;
  return v2 + d * (p2 + d * (p3 + d * p4));
}

function sampleBicubic(image: RgbImage, x: number, y: number, data: Uint8Array, out: number): void {
  const { width, height, data: source } = image;
  const column = Math.floor(x);
  const row = Math.floor(y);
  const dx = x - column;
  const dy = y - row;
  const x0 = clamp(column - 1, width) * 3;
  const x1 = clamp(column, width) * 3;
  const x2 = clamp(column + 1, width) * 3;
  const x3 = clamp(column + 2, width) * 3;
  const stride = width * 3;
  const y0 = clamp(row - 1, height) * stride;
  // The position is inside the image, so row is -1 at the least; a row outside repeats the one before it.
  const y1 = row >= 0 ? row * stride : y0;
  const y2 = row + 1 < height ? (row + 1) * stride : y1;
  const y3 = row + 2 < height ? (row + 2) * stride : y2;
  for (let p = 0; p < 3; p++) {
    const v0 = cubic(source[y0 + x0 + p], source[y0 + x1 + p], source[y0 + x2 + p], source[y0 + x3 + p], dx);
    const v1 = cubic(source[y1 + x0 + p], source[y1 + x1 + p], source[y1 + x2 + p], source[y1 + x3 + p], dx);
    const v2 = cubic(source[y2 + x0 + p], source[y2 + x1 + p], source[y2 + x2 + p], source[y2 + x3 + p], dx);
    const v3 = cubic(source[y3 + x0 + p], source[y3 + x1 + p], source[y3 + x2 + p], source[y3 + x3 + p], dx);
    const value = cubic(v0, v1, v2, v3, dy);
    data[out + p] = value <= 0 ? 0 : value >= 255 ? 255 : value;
  }
}

/** Rotation by `degrees` counter-clockwise about the centre, same size. */
export function rotate(image: RgbImage, degrees: number, interpolation: Interpolation, fill: Rgb): RgbImage {
  const { width, height } = image;
  const angle = ((degrees % 360) + 360) % 360;
  if (angle === 0) return image;
  if (angle === 180 || (width === height && (angle === 90 || angle === 270))) return quarterTurns(image, angle / 90);
  const radians = -(angle * Math.PI) / 180;
  const round15 = (value: number): number => Number(value.toFixed(15));
  const cos = round15(Math.cos(radians));
  const sin = round15(Math.sin(radians));
  const c = cos * (-width / 2) + sin * (-height / 2) + width / 2;
  const f = -sin * (-width / 2) + cos * (-height / 2) + height / 2;
  return affine(image, [cos, sin, c, -sin, cos, f], interpolation, fill);
}

/** Exact rotation counter-clockwise by 1, 2 or 3 quarter turns (1 and 3: square images). */
function quarterTurns(image: RgbImage, turns: number): RgbImage {
  const { width, height, data: source } = image;
  const data = new Uint8Array(source.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [fromX, fromY] =
        turns === 2 ? [width - 1 - x, height - 1 - y] : turns === 1 ? [width - 1 - y, x] : [y, height - 1 - x];
      const from = (fromY * width + fromX) * 3;
      data.set(source.subarray(from, from + 3), (y * width + x) * 3);
    }
  }
  return { width, height, data };
}
