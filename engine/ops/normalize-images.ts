import { DeitError } from '../../kernels/lib/errors.ts';
import { BOX_WORDS } from '../../kernels/normalize-images/box.ts';
import { normalizeImages as normalizeImagesKernel } from '../../kernels/normalize-images/index.ts';
import type { Tensor } from '../tensor.ts';

export { BOX_WORDS, readBox, writeBox } from '../../kernels/normalize-images/box.ts';
export type { ErasedBox, ErasingNoise } from '../../kernels/normalize-images/box.ts';

export interface ByteImages {
  /** u32: the bytes [B, H, W, 3] in words of four, filled up to a whole word. */
  readonly pixels: Tensor;
  /** The normalised value of each byte, [3, 256]. */
  readonly table: Tensor;
  /** u32 [B, boxes, 16]: what is erased, as `writeBox` writes it; null for nothing. */
  readonly boxes: Tensor | null;
}

/** Writes images of bytes to `images` [B, 3, H, W], normalised and with their boxes erased. Has no gradient. */
export function normalizeImages({ pixels, table, boxes }: ByteImages, images: Tensor): void {
  const [batch, channels, height, width] = images.shape;
  const words = Math.ceil((3 * batch * height * width) / 4);
  const perImage = (boxes?.size ?? 0) / (batch * BOX_WORDS);
  const isFit = images.rank === 4 && channels === 3 && pixels.size === words && table.size === 768;
  if (!isFit || !Number.isInteger(perImage)) {
    throw new DeitError('shape-mismatch', 'Images, their bytes, their table and their boxes do not fit together.', {
      where: 'normalizeImages',
      expected: 'images [B, 3, H, W], 3 B H W / 4 words of bytes, a table [3, 256], boxes [B, n, 16]',
      found: [images, pixels, table, ...(boxes ? [boxes] : [])].join(', '),
    });
  }
  const problem = { batch, height, width, boxes: perImage };
  const tensors = { pixels, table, y: images, ...(boxes ? { boxes } : {}) };
  images.engine.run('normalizeImages', normalizeImagesKernel, problem, tensors);
}
