/** GIF: the first frame, and what decoders disagree on: pixels that it leaves transparent or does not cover. Browser-safe. */
import type { RgbImage } from './dataset.ts';

export interface GifFrame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  /**
   * The colour of pixels that are transparent or outside of the frame: Pillow, which drops transparency, shows the
   * palette's colour of the transparent index there, and of index 0 if none is transparent. Null if there is no such colour.
   */
  readonly behind: Uint8Array | null;
}

/** The first frame of a file that begins with GIF87a or GIF89a; null if there is none. */
export function firstFrame(bytes: Uint8Array): GifFrame | null {
  const paletteBytes = (flags: number): number => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);
  const word = (at: number): number => bytes[at] | (bytes[at + 1] << 8);
  let at = 13 + paletteBytes(bytes[10]);
  let palette = bytes.subarray(13, at);
  let index = 0;
  // Extensions come first; a graphic control extension may name a transparent index.
  while (bytes[at] === 0x21) {
    if (bytes[at + 1] === 0xf9 && bytes[at + 3] & 1) index = bytes[at + 6];
    at += 2;
    while (bytes[at] > 0) at += bytes[at] + 1;
    at++;
  }
  if (bytes[at] !== 0x2c || at + 10 > bytes.length) return null;
  const own = paletteBytes(bytes[at + 9]);
  if (own > 0) palette = bytes.subarray(at + 10, at + 10 + own);
  const behind = palette.subarray(3 * index, 3 * index + 3);
  const [left, top, width, height] = [1, 3, 5, 7].map((offset) => word(at + offset));
  return { left, top, width, height, behind: behind.length === 3 ? behind : null };
}

/** A decoded screen (RGBA, four bytes a pixel) as Pillow has it in RGB; null where a pixel has no colour. */
export function flattenGif({ width, height, data: rgba }: RgbImage, frame: GifFrame): RgbImage | null {
  const data = new Uint8Array(width * height * 3);
  const [right, bottom] = [frame.left + frame.width, frame.top + frame.height];
  for (let y = 0, i = 0, o = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i += 4, o += 3) {
      const isInside = x >= frame.left && x < right && y >= frame.top && y < bottom;
      if (isInside && rgba[i + 3] > 0) {
        data[o] = rgba[i];
        data[o + 1] = rgba[i + 1];
        data[o + 2] = rgba[i + 2];
      } else if (frame.behind) data.set(frame.behind, o);
      else return null;
    }
  }
  return { width, height, data };
}
