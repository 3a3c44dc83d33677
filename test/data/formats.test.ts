/** Picture files against Pillow's pixels (golden/image_files.json): equal to the byte, or refused by name. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodeBytes } from '../../deit/data/node/decode.ts';
import { isImageName, otherFormatOf } from '../../deit/data/node/file-names.ts';

interface Row {
  name: string;
  file: string;
  size: [number, number] | null;
  md5: string | null;
}
const rows = JSON.parse(readFileSync(new URL('../golden/image_files.json', import.meta.url), 'utf8')) as Row[];
const bytesOf = (row: Row): Buffer => Buffer.from(row.file, 'base64');

/** What is refused although Pillow reads it (or it is cut short), and by what name. */
const REFUSED: Record<string, RegExp> = {
  'ycbcr.tif': /TIFF with YCbCr without JPEG/,
  'lab.tif': /TIFF with CIE L\*a\*b\*/,
  'deep premultiplied.tif': /TIFF with RGB, 16 bits/,
  'deep cmyk.tif': /TIFF with CMYK, 4 samples, 16 bits/,
  'deep white is zero.tif': /TIFF with grey, 16 bits/,
  'signed 16 bits.tif': /TIFF with grey, 16 bits a sample with signs/,
  'signed 8 bits.tif': /TIFF with grey, 8 bits a sample with signs/,
  'palette of 8-bit colours.tif': /palette of 8-bit colours/,
  'grey with premultiplied alpha.tif': /TIFF with grey with alpha/,
  '555.bmp': /BMP, 16 bits a pixel/,
  'other bit fields.bmp': /BMP, 32 bits a pixel/,
  'run-length.bmp': /BMP, run-length coded/,
  'values to 100.ppm': /values to 100/,
  'text.ppm': /PNM other than P5 and P6/,
  'avif called a jpeg.jpg': /AVIF/,
  'jpeg 2000.jp2': /JPEG 2000/,
  'icon.ico': /ICO/,
  'drawing.svg': /SVG/,
  'cut.ppm': /cut short/,
  'cut.bmp': /cannot be decoded/,
  'cut.gif': /cannot be decoded/,
};
/** 16-bit grey keeps its high byte, which is noted: Pillow's own conversion makes nearly all of it white. */
const NOTED = ['deep grey.tif', 'deep grey.png'];

describe('picture files', () => {
  const equal = rows.filter(({ name }) => !(name in REFUSED) && !NOTED.includes(name));
  it.each(equal)('$name: the pixels of Pillow', async (row) => {
    const { width, height, data, note } = await decodeBytes(bytesOf(row), row.name);
    expect([width, height]).toEqual(row.size);
    expect(createHash('md5').update(data).digest('hex')).toBe(row.md5);
    expect(note).toBeUndefined();
  });

  const refused = rows.filter(({ name }) => name in REFUSED);
  it('hold every kind that is refused', () =>
    expect(refused.map(({ name }) => name).sort()).toEqual(Object.keys(REFUSED).sort()));
  it.each(refused)('$name: refused by name', async (row) => {
    await expect(decodeBytes(bytesOf(row), row.name)).rejects.toThrow(REFUSED[row.name]);
    await expect(decodeBytes(bytesOf(row), row.name)).rejects.toMatchObject({ code: 'file-corrupt' });
  });

  it.each(NOTED)('%s: its high byte, and a note', async (name) => {
    const row = rows.find((each) => each.name === name)!;
    const { data, note } = await decodeBytes(bytesOf(row), name);
    // The high byte of image_files.py's `deep` is its noise.
    const at = (x: number, y: number): number =>
      Math.floor((((x * 7919 + y * 104729 + x * y * 31) * 2654435761) % 2 ** 32) / 2 ** 24);
    for (const [x, y] of [
      [0, 0],
      [3, 1],
      [20, 12],
    ])
      expect(data[3 * (21 * y + x)], `${x}, ${y}`).toBe(at(x, y));
    expect(note).toMatch(/16-bit grey/);
  });
});

describe('names of files', () => {
  it.each(['a.jpg', 'a.JPEG', 'a.b.Png', 'a.webp', 'a.TIF', 'a.tiff', 'a.gif', 'a.bmp', 'a.ppm', 'a.pgm', 'a.jfif'])(
    '%s is read',
    (name) => expect(isImageName(name)).toBe(true),
  );
  it.each([
    ['a.HEIC', 'HEIC'],
    ['a.avif', 'AVIF'],
    ['a.svg', 'SVG'],
    ['a.CR2', 'RAW'],
    ['a.dng', 'RAW'],
    ['a.jp2', 'JPEG 2000'],
  ])('%s is named as %s', (name, format) => {
    expect(isImageName(name)).toBe(false);
    expect(otherFormatOf(name)).toBe(format);
  });
  it.each(['a.txt', 'jpg', 'a.jpg.part', 'a', 'a.constructor', 'png.'])('%s is no image', (name) => {
    expect([isImageName(name), otherFormatOf(name)]).toEqual([false, undefined]);
  });
});
