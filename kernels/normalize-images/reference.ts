import { PhiloxStream } from '../lib/philox.ts';
import type { Purpose } from '../lib/philox.ts';
import type { ErasedBox } from './box.ts';
import type { NormalizeImagesProblem } from './index.ts';

/** `boxes` by image, in the order in which they are filled. */
export function normalizeImagesReference(
  { batch, height, width }: Omit<NormalizeImagesProblem, 'boxes'>,
  pixels: ArrayLike<number>,
  table: ArrayLike<number>,
  boxes: readonly (readonly ErasedBox[])[],
): number[] {
  const plane = height * width;
  const y: number[] = [];
  for (let image = 0; image < batch; image++) {
    for (let c = 0; c < 3; c++) {
      for (let p = 0; p < plane; p++) y.push(table[256 * c + pixels[3 * (image * plane + p) + c]]);
    }
    for (const { top, left, height: rows, width: columns, fill } of boxes[image]) {
      const stream =
        'word' in fill ? new PhiloxStream(fill.seed, fill.purpose as Purpose, fill.step, fill.stream) : null;
      if ('word' in fill) stream!.skip(fill.word);
      for (let c = 0; c < 3; c++) {
        for (let row = top; row < top + rows; row++) {
          for (let column = left; column < left + columns; column++) {
            y[(3 * image + c) * plane + row * width + column] = 'word' in fill ? stream!.normal() : fill[c];
          }
        }
      }
    }
  }
  return y;
}
