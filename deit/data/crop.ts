/** Cutting a rectangle out of a picture. Browser-safe. */
import { DeitError } from '../../engine/index.ts';
import type { RgbImage } from './dataset.ts';
import { bytesAt, newImage } from './wasm/memory.ts';

/** A rectangle of whole pixels. */
export interface Rect {
  left: number;
  top: number;
  width: number;
  height: number;
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
  if (image.part) return image.part(rect);
  if (width === image.width && height === image.height) return image;
  return newImage(width, height, (out) => {
    const source = image.data;
    const data = bytesAt(out, width * height * 3);
    for (let y = 0; y < height; y++) {
      const from = ((top + y) * image.width + left) * 3;
      data.set(source.subarray(from, from + width * 3), y * width * 3);
    }
  });
}
