import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { examinePhoto } from '../../deit/data/photo.ts';

const photo = sharp({ create: { width: 40, height: 30, channels: 3, background: 'red' } });

/** A file's bytes with others written over them from some place on. */
function withBytes(bytes: Uint8Array, at: number, other: readonly number[]): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed.set(other, at);
  return changed;
}
const text = (content: string): Uint8Array => new TextEncoder().encode(content);

describe('a photo given to the page', () => {
  it('is taken in the formats that every browser decodes, by its bytes', async () => {
    for (const format of ['jpeg', 'png', 'webp', 'gif'] as const) {
      expect(examinePhoto(await photo.clone().toFormat(format).toBuffer(), 'a.svg')).toBe(`image/${format}`);
    }
  });

  it.each([
    ['SVG', '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'],
    ['SVG', '<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg"/>'],
    ['HTML or XML', '\ufeff <html><script>alert(1)</script>'],
    ['AVIF', '\0\0\0\x1cftypavif\0\0\0\0mif1'],
    ['JPEG XL', '\0\0\0\x0cJXL \r\n'],
    ['PDF', '%PDF-1.7'],
    ['TIFF', 'II*\0\x08\0\0\0'],
    ['BMP', 'BM\x36\0\0\0'],
    ['no image format', ''],
    ['no image format', 'just words'],
  ])('is refused as %s, whatever it is called', (found, content) => {
    expect(() => examinePhoto(text(content), 'photo.png')).toThrow(
      expect.objectContaining({ code: 'file-corrupt', message: expect.stringMatching(new RegExp(`photo.png[^]*${found}`)) as string }), // prettier-ignore
    );
  });

  it('is refused by the size in its header, and without one', async () => {
    const [png, jpeg, gif, webp] = await Promise.all(
      (['png', 'jpeg', 'gif', 'webp'] as const).map((format) => photo.clone().toFormat(format).toBuffer()),
    );
    const refused = (bytes: Uint8Array, size: string): void =>
      expect(() => examinePhoto(bytes, 'x')).toThrow(expect.objectContaining({ code: 'bad-data', message: expect.stringContaining(size) as string })); // prettier-ignore
    // Width and height: big-endian words in IHDR and in the frame header (height first), little-endian in a GIF's screen.
    refused(withBytes(png, 16, [0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]), '30000 x 30000');
    const frame = jpeg.indexOf(Uint8Array.of(0xff, 0xc0));
    refused(withBytes(jpeg, frame + 5, [0xff, 0xff, 0x40, 0x00]), '16384 x 65535');
    refused(withBytes(gif, 6, [0xff, 0xff, 0xff, 0xff]), '65535 x 65535');
    // 14 bits each in the key frame of lossy WebP: within the sides, beyond the pixels.
    const key = webp.indexOf(Uint8Array.of(0x9d, 0x01, 0x2a));
    refused(withBytes(webp, key + 3, [0xff, 0x3f, 0xff, 0x3f]), '16383 x 16383');
    // A frame larger than the screen.
    const image = gif.indexOf(Uint8Array.of(0x2c, 0, 0, 0, 0, 40, 0, 30, 0));
    refused(withBytes(gif, image + 5, [0xff, 0xff, 0xff, 0xff]), '65535 x 65535');
    refused(withBytes(png, 16, [0, 0, 0, 1]), '1 x 30');
    expect(() => examinePhoto(png.subarray(0, 18), 'x')).toThrow('without a size');
  });
});
