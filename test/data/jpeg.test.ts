/** The JPEG decoder against libjpeg-turbo (in sharp): the same pixels, or no opinion. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { describe, expect, it } from 'vitest';
import { compileKernels, moduleText } from '../../bench/wasm.ts';
import type { RgbImage } from '../../deit/data/dataset.ts';
import { BrokenJpeg, readJpeg } from '../../deit/data/jpeg.ts';
import { decodeBytes } from '../../deit/data/node/decode.ts';
import { crop } from '../../deit/data/crop.ts';

/** Noise over a gradient, so that all frequencies and both ends of the range occur. */
function picture(width: number, height: number, channels: 1 | 3 = 3): Sharp {
  let state = width * 31 + height;
  const data = Uint8Array.from({ length: width * height * channels }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.max(0, Math.min(255, ((i / channels) % width) * (280 / width) - 20 + (state >>> 26)));
  });
  return sharp(data, { raw: { width, height, channels } });
}

async function bySharp(bytes: Uint8Array): Promise<RgbImage> {
  const { data, info } = await sharp(bytes, { ignoreIcc: true }).toColourspace('srgb').raw().toBuffer({ resolveWithObject: true }); // prettier-ignore
  expect(info.channels).toBe(3);
  return { width: info.width, height: info.height, data: new Uint8Array(data) };
}

const isEqual = (a: RgbImage, b: RgbImage): boolean =>
  a.width === b.width && a.height === b.height && Buffer.from(a.data).equals(Buffer.from(b.data));

const kinds = [
  ['4:2:0', { chromaSubsampling: '4:2:0' }],
  ['4:4:4', { chromaSubsampling: '4:4:4' }],
  ['optimised tables', { optimiseCoding: true }],
  ['standard tables', { optimiseCoding: false }],
  ['coarse', { quality: 5 }],
  ['fine', { quality: 100 }],
] as const;

describe('the usual JPEG', () => {
  it.each(kinds)('%s: has the pixels of libjpeg-turbo, whole and in part, at any size', async (_name, options) => {
    const sizes = [[9, 9], [16, 16], [17, 33], [64, 48], [127, 65], [250, 131]]; // prettier-ignore
    for (const [width, height] of sizes) {
      const bytes = await picture(width, height).jpeg(options).toBuffer();
      const [found, expected] = [readJpeg(bytes)!, await bySharp(bytes)];
      expect(isEqual(found, expected), `${width} x ${height}`).toBe(true);
      for (let left = 0; left < width; left += 1 + (width >> 3)) {
        for (const top of [0, 1, height >> 1, height - 1]) {
          const rect = { left, top, width: 1 + ((width - left - 1) >> 1), height: 1 + ((height - top - 1) >> 1) };
          const label = `${JSON.stringify(rect)} of ${width} x ${height}`;
          expect(isEqual(found.part(rect), crop(expected, rect)), label).toBe(true);
        }
      }
    }
  });

  it('grey has three equal channels', async () => {
    const bytes = await picture(45, 37, 1).toColourspace('b-w').jpeg().toBuffer();
    expect(isEqual(readJpeg(bytes)!, await bySharp(bytes))).toBe(true);
  });

  it('may have restart markers, and chroma halved across alone', () => {
    // Pillow 13: save("JPEG", quality=40, subsampling=1, restart_marker_blocks=2, optimize=True), and the MD5 of its pixels.
    const bytes = Buffer.from(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/wAARCAAVACEDASEAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAABQAEBv/EACIQAAICAQMEAwAAAAAAAAAAAAABAyEEBhMxJENhsREUc//EABkBAAMAAwAAAAAAAAAAAAAAAAIEBQEDBv/EAB0RAAIBBQEBAAAAAAAAAAAAAAADAgESEyEjBBH/3QAEAAL/2gAMAwEAAhEDEQA/AOUUNqhHGh4oyyGgnL0L40PFBmoYetjrtL2xRMOoh519z//Q5TZ8EbrBjGIqG1QhjQ8UMMhoZcvR/9HbjQ8UGahh62Ou0vbCTDqH519wrZ8EULCpjP/SxqNfKEMaNUWWRp8L7o0+C+NGqDNQxr7sf5L2xNMaZRFEaZz/08W2iL1tDpbaH//Z',
      'base64',
    );
    const image = readJpeg(bytes)!;
    expect([image.width, image.height]).toEqual([33, 21]);
    expect(createHash('md5').update(image.data).digest('hex')).toBe('66e16c8fa12d31a4fde0610bbec23c81');
  });
});

describe('what is left to the full decoder', () => {
  it('progressive, turned, CMYK and cut short', async () => {
    const plain = await picture(40, 30).jpeg().toBuffer();
    expect(readJpeg(plain)).not.toBeNull();
    const others = [
      await picture(40, 30).jpeg({ progressive: true }).toBuffer(),
      await picture(40, 30).withMetadata({ orientation: 6 }).jpeg().toBuffer(),
      await picture(40, 30).toColourspace('cmyk').jpeg().toBuffer(),
      plain.subarray(0, plain.length - 50),
    ];
    for (const bytes of others) expect(readJpeg(bytes)).toBeNull();
    expect((await decodeBytes(others[1], 'turned')).width).toBe(30);
  });

  it('scans whose header is longer than their components', async () => {
    const bytes = await picture(40, 30).jpeg().toBuffer();
    const scan = bytes.indexOf(Buffer.of(0xff, 0xda));
    // FF DA, the length, the number of components, two bytes for each, three more.
    expect([...bytes.subarray(scan + 2, scan + 5)]).toEqual([0, 12, 3]);
    bytes[scan + 3]++;
    expect(readJpeg(Buffer.concat([bytes.subarray(0, scan + 11), Buffer.of(0), bytes.subarray(scan + 11)]))).toBeNull();
  });

  it('damaged files are decoded as by libjpeg-turbo, or refused, and never harm the next', async () => {
    const good = await picture(60, 50).jpeg({ quality: 80 }).toBuffer();
    const expected = await bySharp(good);
    let differing = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        async (edits) => {
          const bytes = Buffer.from(good);
          for (const [at, value] of edits) bytes[at] = value;
          const image = readJpeg(bytes);
          if (image && image.width * image.height < 1e6) {
            try {
              const { data } = image;
              const reference = await bySharp(bytes).catch(() => null);
              if (reference && !Buffer.from(data).equals(Buffer.from(reference.data))) differing++;
            } catch (error) {
              expect(error).toBeInstanceOf(BrokenJpeg);
            }
          }
          expect(isEqual(readJpeg(good)!, expected)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
    expect(differing).toBe(0);
  });
});

it('the committed WebAssembly is what its source compiles to', async () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const committed = readFileSync(new URL('../../deit/data/wasm/module.ts', import.meta.url), 'utf8');
  expect(moduleText(await compileKernels(root)) === committed).toBe(true);
});
