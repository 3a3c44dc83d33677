import { expect, it } from 'vitest';
import { BOX_WORDS } from '../../engine/index.ts';
import { ImageBytes } from '../../deit/data/image-bytes.ts';
import { imagenetNormalization } from '../../deit/data/transforms.ts';

it('images move from batch to batch with their boxes, and nothing else changes', () => {
  const filled = (count: number, first: number): ImageBytes => {
    const batch = new ImageBytes(count, 2, 3, imagenetNormalization);
    batch.pixels.forEach((_, i) => (batch.pixels[i] = first + i));
    batch.boxes.forEach((_, i) => (batch.boxes[i] = 1000 * first + i));
    return batch;
  };
  const [from, to] = [filled(4, 0), filled(5, 100)];
  const before = { pixels: [...to.pixels], boxes: [...to.boxes] };
  // Images 1 and 2 become 3 and 4.
  to.take(from, 1, 3, 2);
  const [bytes, words] = [3 * 2 * 2, 3 * BOX_WORDS];
  expect([...to.pixels]).toEqual([...before.pixels.slice(0, 3 * bytes), ...from.pixels.slice(bytes, 3 * bytes)]);
  expect([...to.boxes]).toEqual([...before.boxes.slice(0, 3 * words), ...from.boxes.slice(words, 3 * words)]);
});
