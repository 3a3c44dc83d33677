/** ImageNet's archives, made small and of the same form by tar-stream and, for meta.mat, scipy 1.17. */
import {
  existsSync,
  mkdtempSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeitError } from '../../engine/index.ts';
import { prepareImagenet } from '../../deit/data/node/imagenet.ts';
import { readMat } from '../../deit/data/node/formats/mat.ts';
import { openData } from '../../deit/data/node/open.ts';

// scipy.io.savemat("meta.mat", {"synsets": rows}, do_compression=True), rows as in ILSVRC 2012: number, WNID, words, gloss, children,
// height, images. Classes 1 to 3 are n02119789 (3 images), n02100735 (2) and n01440764 (2); 4 is their parent.
// prettier-ignore
const META =
  'TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IEZyaSBOb3YgMjcgMjE6MzA6MTAgMjAyNgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABSU0PAAAAsAEAAHic7VVNT8IwGC6IfCQGPy5y7NEDhw3R4cklaiKJ8aAGj6SOQhtHR9oi8g/8uf4EWylaKgYY3PRN3nXPuz7P3i5PuzIA4KgEQF6NRZVZMIltg3MqMyYLKsWYCSyFep4D+6b+prJ5c9+6u6h5fq3dvNQCj7eT8StGCe8Iu9CLEzFTYMN+OyI07nDMPgszYKrBsGwTTHtEGorkiLI27aMeFqCsig3wvZ6ys56MlTp2rDow80OLn5vDL1nz9wxmXs33z4LGmaVzvUCn4uho/Ewl7CavVdgaxgMsYB9FPJFUpO1L9FEca0WrrzTfB1h8z+LnHf40pvzSBt+bhr+1Jj9r8UOQzheeFxyfrKBTdnQ0vmK9mAoC1eaTmP9czzydgqOjMYJPHOPOn/NBdk2+7aMQpPGBX697wWnd0ll0Phw4OhpLzCJShQ+URQhKfV2+r11HT+Mux4KMkPIU7Cp//ftiRX7O4ocgjS9U+EHd+6WPeTp5R0djzCSV4+V8dejwNZYESTgiNCKQCjjAPML0ZY1zwt4vdj+uHzJmru2HCpjG+7m5CSdDMdzE/30dn30ABcpplw==';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'deit-imagenet-'));
});
afterAll(() => rmSync(root, { recursive: true }));

async function tarOf(members: readonly [string, Buffer | string][]): Promise<Buffer> {
  const tar = pack();
  for (const [name, bytes] of members) tar.entry({ name }, bytes);
  tar.finalize();
  const parts: Buffer[] = [];
  for await (const part of tar) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

const picture = (level: number): Promise<Buffer> =>
  sharp({ create: { width: 8, height: 8, channels: 3, background: { r: level, g: 9, b: 9 } } })
    .jpeg()
    .toBuffer();

const classes = [
  ['n02119789', 3],
  ['n02100735', 2],
  ['n01440764', 2],
] as const;

/** A download in a folder of its own. */
async function download(name: string, { truth = '3\n1\n2\n3\n' } = {}): Promise<string> {
  const folder = join(root, name);
  mkdirSync(folder);
  const inner: [string, Buffer][] = [];
  for (const [c, [wnid, count]] of classes.entries()) {
    const images: [string, Buffer][] = [];
    for (let i = 0; i < count; i++) images.push([`${wnid}_${i}.JPEG`, await picture(50 * c + i)]);
    inner.push([`${wnid}.tar`, await tarOf(images)]);
  }
  writeFileSync(join(folder, 'ILSVRC2012_img_train.tar'), await tarOf(inner));
  const val: [string, Buffer][] = [];
  // In no particular order, as in the real archive.
  for (const i of [2, 4, 1, 3]) val.push([`ILSVRC2012_val_${String(i).padStart(8, '0')}.JPEG`, await picture(200 + i)]);
  writeFileSync(join(folder, 'ILSVRC2012_img_val.tar'), await tarOf(val));
  const kit = await tarOf([
    ['ILSVRC2012_devkit_t12/readme.txt', 'read me'],
    ['ILSVRC2012_devkit_t12/data/meta.mat', Buffer.from(META, 'base64')],
    ['ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt', truth],
  ]);
  writeFileSync(join(folder, 'ILSVRC2012_devkit_t12.tar.gz'), gzipSync(kit));
  return folder;
}

const refusal = async (work: Promise<unknown>): Promise<string> => {
  const error: unknown = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DeitError);
  return (error as DeitError).message;
};

it('meta.mat is read as scipy wrote it', () => {
  const rows = readMat(Buffer.from(META, 'base64')).get('synsets') as Record<string, unknown>[];
  expect(rows).toHaveLength(4);
  expect(rows[0]).toEqual({
    ILSVRC2012_ID: [1],
    WNID: 'n02119789',
    words: 'kit fox, Vulpes macrotis',
    gloss: 'small fox',
    num_children: [0],
    children: [],
    wordnet_height: [0],
    num_train_images: [3],
  });
  expect(rows[3]).toMatchObject({ WNID: 'n00001740', num_children: [3], children: [1, 2, 3] });
});

describe('the published archives', () => {
  it('become folders by class, which a training reads; a run that was broken off goes on', async () => {
    const [source, output] = [await download('whole'), join(root, 'whole-out')];
    const first = await prepareImagenet(source, output);
    expect(first).toMatchObject({
      classes: 3,
      parts: [
        { images: 7, kept: 0 },
        { images: 4, kept: 0 },
      ],
    });
    expect(readdirSync(join(output, 'train')).sort()).toEqual(['n01440764', 'n02100735', 'n02119789']);
    // Ground truth 3 1 2 3: images 1 and 4 are class 3, which is n01440764.
    expect(readdirSync(join(output, 'val/n01440764')).sort()).toEqual(['ILSVRC2012_val_00000001.JPEG', 'ILSVRC2012_val_00000004.JPEG']); // prettier-ignore
    expect(readFileSync(join(output, 'val/n02119789/ILSVRC2012_val_00000002.JPEG'))).toEqual(await picture(202));
    expect(readFileSync(join(output, 'train/n02100735/n02100735_1.JPEG'))).toEqual(await picture(51));
    expect(readFileSync(join(output, 'synset_words.txt'), 'utf8').split('\n')[0]).toBe('n01440764 tench, Tinca tinca');
    const { train, val } = await openData(output);
    expect([train.length, val.length, train.classes.length]).toEqual([7, 4, 3]);

    // Broken off in the middle of a class: its folder is not there, a part of it is.
    rmSync(join(output, 'train/n02100735'), { recursive: true });
    mkdirSync(join(output, 'train/.n02100735.part'));
    writeFileSync(join(output, 'train/.n02100735.part/half.JPEG'), 'half');
    const second = await prepareImagenet(source, output);
    expect(second.parts.map(({ kept }) => kept)).toEqual([2, 3]);
    expect(readdirSync(join(output, 'train/n02100735'))).toHaveLength(2);
    expect(existsSync(join(output, 'train/.n02100735.part'))).toBe(false);

    truncateSync(join(output, 'train/n02119789/n02119789_0.JPEG'), 10);
    expect(await refusal(prepareImagenet(source, output))).toMatch(/n02119789_0.JPEG of 10 bytes[^]*Remove the folder/);
  });

  it('are read beside a devkit that was unpacked already', async () => {
    const source = await download('unpacked');
    rmSync(join(source, 'ILSVRC2012_devkit_t12.tar.gz'));
    const data = join(source, 'ILSVRC2012_devkit_t12/data');
    mkdirSync(data, { recursive: true });
    writeFileSync(join(data, 'meta.mat'), Buffer.from(META, 'base64'));
    writeFileSync(join(data, 'ILSVRC2012_validation_ground_truth.txt'), '3\n1\n2\n3\n');
    expect(await prepareImagenet(source, join(root, 'unpacked-out'))).toMatchObject({ classes: 3 });
    expect(readdirSync(join(root, 'unpacked-out/val/n01440764')).sort()).toEqual([1, 4].map((n) => `ILSVRC2012_val_0000000${n}.JPEG`)); // prettier-ignore
  });

  it('that are missing, cut short or of something else are named', async () => {
    const source = await download('broken');
    const [train, val] = ['train', 'val'].map((part) => join(source, `ILSVRC2012_img_${part}.tar`));
    const good = [readFileSync(train), readFileSync(val)];
    const run = (): Promise<string> => refusal(prepareImagenet(source, join(root, 'broken-out')));

    rmSync(val);
    expect(await run()).toMatch(/no ILSVRC2012_img_val.tar[^]*image-net.org/);
    writeFileSync(val, good[1].subarray(0, 2000));
    expect(await run()).toMatch(/cut short/);
    writeFileSync(val, await tarOf([['ILSVRC2012_val_00000001.JPEG', 'x']]));
    expect(await run()).toMatch(/4 images, as ILSVRC2012_validation[^]*Found: 1/i);
    writeFileSync(val, await tarOf(['1', '2', '3', '5'].map((n) => [`ILSVRC2012_val_0000000${n}.JPEG`, 'x'])));
    expect(await run()).toMatch(/ILSVRC2012_val_00000005.JPEG/);
    writeFileSync(val, good[1]);
    writeFileSync(train, await tarOf([['n02119789.tar', await tarOf([['n02119789_0.JPEG', 'x']])]]));
    expect(await run()).toMatch(/n01440764.tar/);
    const short = await tarOf(await Promise.all(classes.map(async ([wnid]): Promise<[string, Buffer]> => [`${wnid}.tar`, await tarOf([[`${wnid}_0.JPEG`, 'x']])]))); // prettier-ignore
    writeFileSync(train, short);
    expect(await run()).toMatch(/2 images[^]*1/);
    writeFileSync(train, good[0]);
    writeFileSync(join(source, 'ILSVRC2012_devkit_t12.tar.gz'), 'no gzip');
    expect(await run()).toMatch(/development kit/);
    expect(existsSync(join(root, 'broken-out/train'))).toBe(false);
    expect(await refusal(prepareImagenet(await download('labels', { truth: '3\n1\n2\n4\n' }), join(root, 'x')))).toMatch(/class "4" in line 4/); // prettier-ignore
  });

  it('a damaged meta.mat is an error with a message, whatever is damaged', () => {
    const whole = Buffer.from(META, 'base64');
    for (let cut = 0; cut < whole.length; cut += 7) {
      try {
        readMat(whole.subarray(0, cut));
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }
  });
});
