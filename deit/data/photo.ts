/** A photo that somebody gives to the page: its first bytes and its size are looked at before a decoder sees it. */
import { imageDimensionsFromData } from 'image-dimensions';
import { DeitError } from '../../engine/index.ts';
import type { RgbImage } from './dataset.ts';
import { firstFrame } from './gif-frame.ts';
import { formatOf } from './image-format.ts';
import { checkFileBytes, checkSize } from './image-limits.ts';

/** What is decoded here: of the formats that the `deit` command reads, those that every browser does. */
const TYPES: Readonly<Partial<Record<string, string>>> = {
  jpeg: 'image/jpeg',
  png: 'image/png',
  webp: 'image/webp',
  gif: 'image/gif',
};

/** The MIME type of a photo's bytes. Throws `file-corrupt` for what is not decoded and `bad-data` for an unusable size. */
export function examinePhoto(bytes: Uint8Array, name: string): string {
  const format = formatOf(bytes);
  const read = format !== null && 'read' in format ? format.read : '';
  const type = TYPES[read];
  if (type === undefined) {
    throw new DeitError('file-corrupt', 'This image format is not read here.', {
      where: name,
      expected: 'JPEG, PNG, WebP or GIF',
      found: format === null ? 'bytes of no image format' : 'other' in format ? format.other : read.toUpperCase(),
      fix: 'Convert the image to JPEG or PNG.',
    });
  }
  const size = imageDimensionsFromData(bytes);
  if (!size) throw broken(name, 'a header without a size');
  checkSize(name, size.width, size.height);
  // A frame may be larger than the screen that the header of a GIF tells of.
  const frame = read === 'gif' ? firstFrame(bytes) : null;
  if (frame) checkSize(name, frame.left + frame.width, frame.top + frame.height);
  return type;
}

/** Decodes a photo as the browser does, alpha dropped. Throws as `examinePhoto` does, and where the browser cannot. */
export async function decodePhoto(file: File): Promise<RgbImage> {
  checkFileBytes(file.name, file.size);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const blob = new Blob([bytes], { type: examinePhoto(bytes, file.name) });
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' }).catch(
    (cause: unknown) => Promise.reject(broken(file.name, String(cause))),
  );
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d')!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data: rgba, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) data.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  return { width, height, data };
}

const broken = (where: string, found: string): DeitError =>
  new DeitError('file-corrupt', 'An image cannot be decoded.', { where, expected: 'a whole image', found });
