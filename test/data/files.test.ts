import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Dataset } from '../../deit/data/dataset.ts';
import { decodeBytes, decodeImage, readImageFile } from '../../deit/data/node/decode.ts';
import { collectImages } from '../../deit/data/node/folder.ts';
import { parseList } from '../../deit/data/node/list-file.ts';
import { openData } from '../../deit/data/node/open.ts';
import { downloadCifar10 } from '../../deit/data/node/cifar-download.ts';
import { DeitError } from '../../engine/index.ts';

let base: string;
let root: string;
let count = 0;
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'deit-files-'));
});
beforeEach(() => {
  root = join(base, `set${count++}`);
  mkdirSync(root);
});
afterAll(() => rmSync(base, { recursive: true }));

/** A picture of one colour, so that pixels tell which file was read. */
const png = (red: number): Promise<Buffer> =>
  sharp({ create: { width: 8, height: 6, channels: 3, background: { r: red, g: 5, b: 250 } } })
    .png()
    .toBuffer();

/** A BMP of 24 bits a pixel, all of one grey. */
function bmp24(width: number, height: number): Buffer {
  const head = Buffer.alloc(54);
  head.write('BM');
  head.writeUInt32LE(54, 10);
  head.writeUInt32LE(40, 14);
  head.writeInt32LE(width, 18);
  head.writeInt32LE(height, 22);
  head.writeUInt16LE(1, 26);
  head.writeUInt16LE(24, 28);
  return Buffer.concat([head, Buffer.alloc(height * Math.ceil((3 * width) / 4) * 4, 99)]);
}

async function put(path: string, red: number): Promise<void> {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  writeFileSync(join(root, path), await png(red));
}

const listed = (set: Dataset): [string, number][] =>
  Array.from({ length: set.length }, (_, i) => [set.path!(i).slice(root.length + 1), set.label(i)]);

describe('image folders', () => {
  it('takes train and val, classes and files in the order of their names', async () => {
    for (const [i, path] of [
      'train/b/2.png',
      'train/b/10.PNG',
      'train/a/deep/x.jpeg',
      'train/a/z.webp',
      'val/a/1.png',
    ].entries()) {
      await put(path, i);
    }
    writeFileSync(join(root, 'train/a/notes.txt'), 'hello');
    writeFileSync(join(root, 'train/a/.hidden.png'), '');
    mkdirSync(join(root, 'train/.cache'));
    const { train, val, notes, kind } = await openData(root);
    expect(train.classes).toEqual(['a', 'b']);
    expect(listed(train)).toEqual([
      ['train/a/deep/x.jpeg', 0],
      ['train/a/z.webp', 0],
      ['train/b/10.PNG', 1],
      ['train/b/2.png', 1],
    ]);
    expect(listed(val)).toEqual([['val/a/1.png', 0]]);
    expect(kind).toBe('folder');
    expect(notes).toEqual([
      `${root}, 4 training and 1 held-out images of 2 classes (a, b)`,
      'parts: train/ 4 images, val/ 1 images',
      'left out: 1 file of no image format (train/a/notes.txt); 1 hidden file named as an image (train/a/.hidden.png)',
    ]);
    const image = await train.image(3);
    expect([image.width, image.height, ...image.data.subarray(0, 3)]).toEqual([8, 6, 0, 5, 250]);
  });

  it('holds out a part of each class by seed where there is no val', async () => {
    for (let i = 0; i < 10; i++) await put(`cats/${i}.png`, i);
    for (let i = 0; i < 5; i++) await put(`dogs/${i}.png`, i);
    const open = async (seed: number): Promise<string[][]> => {
      const { train, val } = await openData(root, { seed, valFraction: 0.3 });
      return [listed(train).map(String), listed(val).map(String)];
    };
    const [train, val] = await open(1);
    expect([train.length, val.length]).toEqual([10, 5]); // 3 of 10 and 2 of 5 (1.5 rounded)
    expect(val.filter((entry) => entry.startsWith('cats'))).toHaveLength(3);
    expect([...train, ...val].sort()).toHaveLength(new Set([...train, ...val]).size);
    expect(await open(1)).toEqual([train, val]);
    expect((await open(2))[1]).not.toEqual(val);
    await expect(openData(root, { valFraction: 1 })).rejects.toThrow(/valFraction/);
  });

  it('says what is wrong with a folder', async () => {
    await expect(openData(join(root, 'none'))).rejects.toThrow(/file-unreadable[^]*no data set/);
    await expect(openData(root)).rejects.toThrow(/two classes/);
    await put('train/only/1.png', 1);
    await expect(openData(root)).rejects.toThrow(/bad-data[^]*only "only"/);
    mkdirSync(join(root, 'train/empty'));
    writeFileSync(join(root, 'train/empty/readme.md'), '');
    await expect(openData(root)).rejects.toThrow(/no images[^]*none in empty/);
    await put('train/empty/1.png', 1);
    await expect(openData(root)).rejects.toThrow(/too few images/);
    await put('val/onyl/1.png', 1);
    await expect(openData(root)).rejects.toThrow(/class that train lacks[^]*onyl[^]*"only"/);
    rmSync(join(root, 'val/onyl'), { recursive: true });
    await expect(openData(root)).rejects.toThrow(/part of the data set has no images[^]*val/);
  });

  it('reads through links out of the folder as torchvision does, unless told not to', async () => {
    writeFileSync(join(base, `outside${count}.png`), await png(99));
    for (const path of ['a/1.png', 'a/2.png', 'b/1.png']) await put(path, 1);
    symlinkSync(join(base, `outside${count}.png`), join(root, 'b/link.png'));
    symlinkSync(join(root, 'a/1.png'), join(root, 'b/within.png'));
    const { train, val } = await openData(root);
    const images = [train, val].flatMap((set) => Array.from({ length: set.length }, (_, i) => set.image(i)));
    expect((await Promise.all(images)).map(({ data }) => data[0]).sort()).toEqual([1, 1, 1, 1, 99]);
    const closed = openData(root, { links: 'inside' });
    await expect(closed).rejects.toThrow(/leads out of the folder[^]*link\.png[^]*data\.links=follow/);
    rmSync(join(root, 'b/link.png'));
    expect((await openData(root, { links: 'inside' })).train.length).toBe(2);
  });

  it('collects images for prediction', async () => {
    await put('a/1.png', 1);
    await put('a/b/2.png', 1);
    writeFileSync(join(root, 'a/3.HEIC'), '');
    expect(await collectImages([join(root, 'a'), 'x.jpg'])).toEqual({
      files: [join(root, 'a/1.png'), join(root, 'a/b/2.png'), 'x.jpg'],
      leftOut: `${join(root, 'a')}: 1 file in HEIC format, which is not read (3.HEIC)`,
    });
  });
});

describe('list files', () => {
  it('reads paths and labels, by name or by number', async () => {
    for (let i = 0; i < 4; i++) await put(`images/${i}.png`, i);
    const lines = ['# comment', '', 'images/0.png\t10', 'images/1.png\t2\r', './images/2.png\t10', 'images/3.png\t2'];
    writeFileSync(join(root, 'list.tsv'), lines.join('\n'));
    const { train, val } = await openData(join(root, 'list.tsv'), { valFraction: 0.5 });
    expect(train.classes).toEqual(['2', '10']);
    expect([train.length, val.length]).toEqual([2, 2]);
    writeFileSync(join(root, 'val.tsv'), 'images/3.png\tcat\n');
    writeFileSync(join(root, 'names.tsv'), 'images/0.png\tdog\nimages/1.png\tcat\n');
    const named = await openData(join(root, 'names.tsv'), { valFile: join(root, 'val.tsv') });
    expect([named.train.classes, listed(named.val)]).toEqual([['cat', 'dog'], [['images/3.png', 0]]]);
    expect((await named.train.image(1)).data[0]).toBe(1);
    writeFileSync(join(root, 'val.tsv'), 'images/3.png\tcow\n');
    const wrong = openData(join(root, 'names.tsv'), { valFile: join(root, 'val.tsv') });
    await expect(wrong).rejects.toThrow(/train lacks[^]*cow/);
    const both = await openData(join(root, 'names.tsv'), { valFile: join(root, 'names.tsv') });
    expect([both.kind, both.notes.at(-1)]).toEqual(['list', expect.stringContaining('2 images are in both lists')]);
  });

  it.each([
    ['../x.png\ta', /leaves the folder/],
    ['a/../../x.png\ta', /leaves the folder/],
    ['..\ta', /leaves the folder/],
    ['/etc/passwd\ta', /leaves the folder/],
    ['a\\..\\..\\x.png\ta', /leaves the folder/],
    ['C:/x.png\ta', /leaves the folder/],
    ['a\0.png\ta', /leaves the folder/],
    ['a.png a', /path, a tab and a label[^]*line 1/],
    ['a.png\t', /path, a tab and a label/],
    ['a.png\tb\tc', /path, a tab and a label/],
    ['\n\n', /names no images/],
  ])('refuses %j', (text, message) => expect(() => parseList(text, 'list.tsv')).toThrow(message));

  it('refuses what is not text, and files behind links when they are read', async () => {
    writeFileSync(join(root, 'binary.tsv'), Uint8Array.of(0xff, 0xfe, 9, 65));
    await expect(openData(join(root, 'binary.tsv'))).rejects.toThrow(/file-corrupt[^]*UTF-8/);
    await expect(openData(join(root, 'none.tsv'))).rejects.toThrow(/file-unreadable/);
    symlinkSync(base, join(root, 'way-out'));
    for (const label of ['a', 'b']) for (const i of [1, 2]) writeFileSync(join(base, `${label}${i}.png`), await png(i));
    const lines = ['a', 'b'].flatMap((label) => [1, 2].map((i) => `way-out/${label}${i}.png\t${label}`));
    writeFileSync(join(root, 'links.tsv'), lines.join('\n'));
    const { train } = await openData(join(root, 'links.tsv'), { links: 'inside' });
    await expect(train.image(0)).rejects.toThrow(/outside the folder/);
  });

  it('never lets a path out of the folder, whatever the bytes', () => {
    const piece = fc.oneof(fc.constantFrom('..', '.', '/', '\\', '\t', 'a', '\0', ' ', '%2e', 'C:'), fc.string());
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        let list: { paths: string[] };
        try {
          list = parseList(`${pieces.join('')}\tlabel`, 'list');
        } catch (error) {
          expect(error).toBeInstanceOf(DeitError);
          return;
        }
        for (const path of list.paths) expect(join('/data/set', path)).toMatch(/^\/data\/set(\/|$)/);
      }),
      { numRuns: 3000, seed: 4 },
    );
  });
});

describe('decoding', () => {
  it('closes every file, also one that it refuses', async () => {
    /** The system gives out the lowest number that is free. */
    const free = (): number => {
      const file = openSync(base, 'r');
      closeSync(file);
      return file;
    };
    await put('1.png', 1);
    const first = free();
    for (let i = 0; i < 3; i++) {
      readImageFile(join(root, '1.png'));
      expect(() => readImageFile(root)).toThrow(/not a regular file/);
    }
    expect(free()).toBe(first);
  });

  // A gradient with alpha: 8 x 6, pixel (x, y) = (30 x, 40 y, 200, 10 (x + y)).
  const rgba = Uint8Array.from({ length: 8 * 6 * 4 }, (_, i) => {
    const [x, y] = [Math.floor(i / 4) % 8, Math.floor(i / 32)];
    return [30 * x, 40 * y, 200, 10 * (x + y)][i % 4];
  });
  const rgb = rgba.filter((_, i) => i % 4 !== 3);
  const source = (): Sharp => sharp(rgba, { raw: { width: 8, height: 6, channels: 4 } });
  const decoded = async (bytes: Buffer): Promise<number[]> => [...(await decodeBytes(bytes, 'x')).data];

  it('drops alpha without mixing it in', async () => {
    expect(await decoded(await source().png().toBuffer())).toEqual([...rgb]);
    expect(await decoded(await source().webp({ lossless: true, exact: true }).toBuffer())).toEqual([...rgb]);
  });

  it('spreads grey and palettes over the channels', async () => {
    const grey = sharp(Uint8Array.of(0, 50, 100, 255, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8), {
      raw: { width: 4, height: 4, channels: 1 },
    });
    const values = await decoded(await grey.clone().toColourspace('b-w').png().toBuffer());
    expect(values.slice(0, 12)).toEqual([0, 0, 0, 50, 50, 50, 100, 100, 100, 255, 255, 255]);
    const palette = await source().removeAlpha().png({ palette: true, colours: 64, dither: 0 }).toBuffer();
    const fromPalette = await decoded(palette);
    expect(Math.max(...fromPalette.map((v, i) => Math.abs(v - rgb[i])))).toBeLessThan(6); // quantized to 64 colours
  });

  it('takes the high byte of 16 bits', async () => {
    const words = Uint16Array.from({ length: 48 }, (_, i) => (i % 3) * 0x5511 + i);
    const bytes = await sharp(words, { raw: { width: 4, height: 4, channels: 3 } })
      .toColourspace('rgb16')
      .png()
      .toBuffer();
    expect((await sharp(bytes).metadata()).depth).toBe('ushort');
    expect(await decoded(bytes)).toEqual([...words].map((word) => word >> 8));
  });

  it('converts CMYK as Pillow does', async () => {
    // Two flat halves, saved as CMYK JPEG by Pillow 13, and the first row of its convert('RGB').
    const jpeg =
      '/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAQCwwODAoQDg0OEhEQExgoGhgWFhgxIyUdKDozPTw5Mzg3QEhcTkBEV0U3OFBtUVdfYmdoZz5NcXlwZHhcZWdj/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABcAAAMBAAAAAAAAAAAAAAAAAAMEBQb/xAAeEAABAgcBAAAAAAAAAAAAAAAABkQFB0OCg8HCRf/aAA4EQwBNAFkASwAAPwBtAP8AH0AmT5uXg1MBr27Lqhb3aP/Z';
    const row = [
      50, 207, 151, 52, 208, 154, 49, 208, 153, 53, 211, 151, 132, 0, 139, 130, 3, 134, 130, 2, 135, 131, 2, 136,
    ];
    expect((await decoded(Buffer.from(jpeg, 'base64'))).slice(0, 24)).toEqual(row);
  });

  it('turns pictures upright', async () => {
    const upright = await decodeBytes(await source().png().withMetadata({ orientation: 6 }).toBuffer(), 'x');
    expect([upright.width, upright.height]).toEqual([6, 8]);
    // Orientation 6: the first stored column, read upwards, is the first row shown.
    expect([...upright.data.subarray(0, 6)]).toEqual([0, 200, 200, 0, 160, 200]);
  });

  it('refuses what it cannot use, naming the file', async () => {
    const sized = async (width: number, height: number): Promise<Buffer> =>
      sharp({ create: { width, height, channels: 3, background: 'red' } })
        .png()
        .toBuffer();
    const refuses = async (bytes: Buffer, message: RegExp): Promise<void> =>
      expect(decodeBytes(bytes, 'photo.jpg')).rejects.toThrow(message);
    await refuses(Buffer.alloc(0), /file-corrupt[^]*photo\.jpg/);
    await refuses(Buffer.from('not an image'), /file-corrupt[^]*photo\.jpg/);
    await refuses(await sized(1, 1), /bad-data[^]*photo\.jpg[^]*1 x 1/);
    await refuses(await sized(20_000, 400), /bad-data[^]*20000 x 400/);
    await refuses(await sized(700, 10), /bad-data[^]*700 x 10/);
    await refuses(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), /file-corrupt[^]*SVG/);
    const jpeg = await sharp(await sized(64, 64))
      .jpeg()
      .toBuffer();
    await refuses(jpeg.subarray(0, jpeg.length / 2), /file-corrupt/);
    await expect(decodeImage(join(root, 'none.png'))).rejects.toThrow(/file-unreadable[^]*none\.png/);
    await expect(decodeImage(root)).rejects.toThrow(/not a regular file/);
    writeFileSync(join(root, 'cut.jpg'), jpeg);
    truncateSync(join(root, 'cut.jpg'), jpeg.length - 40);
    await expect(decodeImage(join(root, 'cut.jpg'))).rejects.toThrow(/file-corrupt[^]*cut\.jpg/);
  });

  it('survives mutated files: a picture within the limits or an error that says so', async () => {
    const picture = sharp({
      create: {
        width: 40,
        height: 30,
        channels: 3,
        background: 'teal',
        noise: { type: 'gaussian', mean: 99, sigma: 40 },
      },
    });
    const seeds = await Promise.all([
      picture.clone().jpeg().toBuffer(),
      picture.clone().png().toBuffer(),
      picture.clone().webp().toBuffer(),
      picture.clone().tiff({ compression: 'lzw' }).toBuffer(),
      picture.clone().gif().toBuffer(),
      Promise.resolve(bmp24(40, 30)),
      Promise.resolve(Buffer.concat([Buffer.from('P6\n40 30\n255\n'), Buffer.alloc(3600, 99)])),
    ]);
    let rejected = 0;
    const edit = fc.tuple(fc.nat(4000), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...seeds),
        fc.array(edit, { minLength: 1, maxLength: 8 }),
        fc.option(fc.double({ min: 0.02, max: 1, noNaN: true }), { nil: 1 }),
        async (seed, edits, part) => {
          const bytes = Buffer.from(seed.subarray(0, Math.ceil(seed.length * part)));
          for (const [at, value] of edits) bytes[at % bytes.length] = value;
          try {
            const image = await decodeBytes(bytes, 'fuzz');
            expect(image.data.length).toBe(image.width * image.height * 3);
          } catch (error) {
            if (!(error instanceof DeitError)) throw error;
            expect(error.message).toMatch(/fuzz/);
            rejected++;
          }
        },
      ),
      { numRuns: 800, seed: 2 },
    );
    expect(rejected).toBeGreaterThan(50); // the mutations do reach the checks
  });
});

describe('fetching CIFAR-10', () => {
  it('refuses a folder that holds anything else, and changes nothing in it', async () => {
    writeFileSync(join(root, 'data_batch_1.bin'), 'mine');
    await expect(downloadCifar10(root)).rejects.toThrow(/bad-data[^]*data_batch_1\.bin[^]*Nothing was changed/);
    writeFileSync(join(root, 'file'), 'in the way');
    await expect(downloadCifar10(join(root, 'file', 'set'))).rejects.toThrow(/file-unwritable/);
  });
});
