/**
 * Affine maps of 8-bit images with the very bytes of Pillow's Image.transform(size, AFFINE, ..., fillcolor=...) and
 * Image.rotate (source: Pillow, Geometry.c and Image.py). Not antialiased: a 4 x 4 (bicubic) or 2 x 2 (bilinear)
 * neighbourhood at a real position, result truncated (wasm/assembly/affine.ts). Browser-safe.
 */
import type { RgbImage } from './dataset.ts';
import type { Interpolation } from './resize.ts';
import { addressOf, bytesAt, kernels, newImage } from './wasm/memory.ts';

export type Rgb = readonly [number, number, number];

/** (a, b, c, d, e, f): output pixel (x, y) reads the input at (a x + b y + c, d x + e y + f), pixel centres at + 0.5. */
export type Matrix = readonly [number, number, number, number, number, number];

/** The image mapped through `matrix`, of the same size; what comes from outside the image is `fill`. */
export function affine(image: RgbImage, matrix: Matrix, interpolation: Interpolation, fill: Rgb): RgbImage {
  const { width, height } = image;
  const colour = fill[0] | (fill[1] << 8) | (fill[2] << 16);
  return newImage(width, height, (out) =>
    kernels().affine(addressOf(image), width, height, out, Number(interpolation === 'bicubic'), colour, ...matrix),
  );
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
  const { width, height } = image;
  return newImage(width, height, (out) => {
    const from = image.data;
    const data = bytesAt(out, width * height * 3);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [fromX, fromY] =
          turns === 2 ? [width - 1 - x, height - 1 - y] : turns === 1 ? [width - 1 - y, x] : [y, height - 1 - x];
        const at = (fromY * width + fromX) * 3;
        data.set(from.subarray(at, at + 3), (y * width + x) * 3);
      }
    }
  });
}
