/** Tar shards: made by tar-stream and read by this code, against folders of the same images. */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DeitError } from '../../engine/index.ts';
import type { CacheOptions } from '../../deit/data/node/cache.ts';
import { checkData } from '../../deit/data/node/check-data.ts';
import { DataLoader } from '../../deit/data/node/loader.ts';
import { openData, readSource } from '../../deit/data/node/open.ts';
import type { ImageSource } from '../../deit/data/node/image-source.ts';
import { bytesOf, packShards } from '../../deit/data/node/pack.ts';
import { listTar } from '../../deit/data/node/tar.ts';
import { trainingPipeline } from '../../deit/data/pipeline.ts';
import { ARCHIVES } from '../cases/tar.ts';

let root: string;
let folders: string;
let shards: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'deit-shards-'));
  vi.stubEnv('XDG_CACHE_HOME', join(root, 'cache-home'));
  folders = join(root, 'folders');
  shards = join(root, 'shards');
  for (const split of ['train', 'val']) {
    for (const [label, name] of ['ant', 'bee', 'élan'].entries()) {
      mkdirSync(join(folders, split, name), { recursive: true });
      for (let i = 0; i < 4; i++) {
        const background = { r: 60 * label, g: 50 * i, b: split === 'train' ? 10 : 200 };
        const image = sharp({ create: { width: 30 + i, height: 40, channels: 3, background } });
        await image.toFile(join(folders, split, name, `${'long'.repeat(i === 0 ? 30 : 1)}.${i}.jpg`));
      }
    }
  }
  await packShards(folders, shards, 3);
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

async function archive(name: string, members: readonly [string, string | Buffer][]): Promise<string> {
  const file = join(root, name);
  const tar = pack();
  for (const [member, bytes] of members) tar.entry({ name: member }, bytes);
  tar.finalize();
  const parts: Buffer[] = [];
  for await (const part of tar) parts.push(part as Buffer);
  writeFileSync(file, Buffer.concat(parts));
  return file;
}

const picture = (): Buffer => readFileSync(join(folders, 'train/ant/long.1.jpg'));
const codeOf = (work: Promise<unknown>): Promise<unknown> => work.then(() => 'none', (error: DeitError) => error.code); // prettier-ignore

async function batches(path: string, workers: number, cache?: CacheOptions): Promise<string[]> {
  const { train } = await openData(path);
  const pipeline = trainingPipeline({ imageSize: 24 });
  const loader = new DataLoader({ dataset: train, pipeline, batchSize: 5, seed: 3, shuffle: true, dropLast: true, workers, cache }); // prettier-ignore
  try {
    const seen: string[] = [];
    for await (const { images, labels } of loader.epoch(1)) seen.push(`${labels.join()} ${Buffer.from(images.buffer).toString('base64')}`); // prettier-ignore
    return seen;
  } finally {
    await loader.close();
  }
}

describe('shards that were packed', () => {
  it('have the parts, classes and labels of the folders', async () => {
    expect(readdirSync(shards).filter((name) => name.startsWith('train'))).toEqual(['train-000000.tar', 'train-000001.tar', 'train-000002.tar']); // prettier-ignore
    const [a, b] = await Promise.all([readSource(folders), readSource(shards)]);
    expect(b.classes).toEqual(a.classes);
    expect(b.kind).toBe('shards');
    for (const split of ['train', 'val'] as const) {
      const [own, packed] = [a.parts.get(split)!.dataset, b.parts.get(split)!.dataset];
      expect(packed.length).toBe(12);
      for (let i = 0; i < 12; i++) expect(packed.label(i)).toBe(own.label(i));
    }
  });

  it('give the batches of the folders, to the bit, on any number of threads', async () => {
    const expected = await batches(folders, 0);
    expect(expected).toHaveLength(2);
    expect(await batches(shards, 0)).toEqual(expected);
    expect(await batches(shards, 2)).toEqual(expected);
    expect(await batches(join(shards, 'train-{000000..000002}.tar'), 0).then((all) => all.length)).toBe(1);
  });

  it('are cached like files: the same reduced images, an entry for each, and others for other shards', async () => {
    const cache = { folder: join(root, 'cache'), shorterSide: 16, interpolation: 'bicubic' } as const;
    const [plain, packed] = [
      await batches(folders, 0, { ...cache, folder: join(root, 'of-files') }),
      await batches(shards, 0, cache),
    ];
    expect(packed).toEqual(plain);
    const entries = (): number => readdirSync(cache.folder, { recursive: true }).filter((name) => String(name).endsWith('.rgb')).length; // prettier-ignore
    const before = entries();
    expect(before).toBe(10); // two batches of five
    expect(await batches(shards, 0, cache)).toEqual(plain);
    expect(entries()).toBe(before);
    const copy = join(root, 'copied');
    mkdirSync(copy);
    for (const name of readdirSync(shards)) copyFileSync(join(shards, name), join(copy, name));
    await batches(copy, 0, cache);
    expect(entries()).toBe(2 * before);
  });

  it('are refused into a folder with something in it, and leave nothing behind', async () => {
    expect(await codeOf(packShards(folders, shards, 2))).toBe('file-unwritable');
    expect(await codeOf(packShards(folders, join(root, 'none'), 0))).toBe('bad-argument');
    expect(readdirSync(root).filter((name) => name.includes('part-'))).toEqual([]);
  });
});

describe('shards of others', () => {
  const open = async (name: string, members: readonly [string, string | Buffer][]) => readSource(await archive(name, members)); // prettier-ignore
  const labelsOf = ({ classes, parts }: ImageSource): Record<string, string> => {
    const { dataset } = parts.get('all')!;
    const images = Array.from({ length: dataset.length }, (_, i) => i);
    return Object.fromEntries(images.map((i) => [dataset.relativePath!(i), classes[dataset.label(i)]]));
  };
  const refusal = (name: string, members: readonly [string, string | Buffer][]): Promise<string> =>
    open(name, members).then(() => 'none', (error: DeitError) => error.message); // prettier-ignore

  it('are labelled by .cls, as names or numbers, or by folders', async () => {
    const byName = await open('names.tar', [['1.jpg', picture()], ['1.cls', 'wasp\n'], ['2.jpg', picture()], ['2.cls', 'ant']]); // prettier-ignore
    expect(byName.classes).toEqual(['ant', 'wasp']);
    expect([0, 1].map((i) => byName.parts.get('all')!.dataset.path!(i).slice(-5))).toEqual(['2.jpg', '1.jpg']);
    const byNumber = await open('numbers.tar', [['1.jpg', picture()], ['1.cls', '10'], ['2.jpg', picture()], ['2.cls', '9']]); // prettier-ignore
    expect(byNumber.classes).toEqual(['9', '10']);
    const byFolder = await open('folders.tar', [['./wasp/1.jpg', picture()], ['./ant/1.jpg', picture()], ['./ant/x.heic', 'x']]); // prettier-ignore
    expect(byFolder.classes).toEqual(['ant', 'wasp']);
    expect(byFolder.leftOut).toContain('HEIC');
  });

  it('may have folders above the classes, dots in keys, labels in .json, and what Macs leave in archives', async () => {
    const below = await open('below.tar', [
      ['set/images/wasp/1.jpg', 'x'],
      ['set/images/ant/more/2.jpg', 'y'],
    ]);
    expect(labelsOf(below)).toEqual({ 'set/images/wasp/1.jpg': 'wasp', 'set/images/ant/more/2.jpg': 'ant' });
    // WebDataset ends a key at the first dot, others at the last.
    const dots = await open('dots.tar', [['a.1.jpg', 'x'], ['a.1.cls', 'p'], ['a.2.jpg', 'y'], ['a.2.cls', 'q'], ['b.left.png', 'z'], ['b.cls', 'q']]); // prettier-ignore
    expect(labelsOf(dots)).toEqual({ 'a.1.jpg': 'p', 'a.2.jpg': 'q', 'b.left.png': 'q' });
    const json = await open('json.tar', [['1.jpg', 'x'], ['1.json', '{"label":3}'], ['1.txt', 'a bee'], ['2.jpg', 'y'], ['2.json', '{"label":"12"}'], ['2.cls', '4'], ['._2.jpg', 'mac']]); // prettier-ignore
    expect(labelsOf(json)).toEqual({ '1.jpg': '3', '2.jpg': '4' });
    expect(json.leftOut).toContain('1 hidden file in a shard (._2.jpg)');
  });

  it.each([
    ['gnu', `${'d'.repeat(60)}/${'é'.repeat(45)}/${'x'.repeat(70)}.JPG`],
    ['pax', `${'d'.repeat(60)}/${'é'.repeat(45)}/${'x'.repeat(70)}.JPG`],
    ['ustar', `${'d'.repeat(90)}/${'x'.repeat(90)}.JPG`],
  ] as const)(
    'of long names, as Python writes them in %s format, are read, and links are counted',
    async (format, long) => {
      const file = join(root, `${format}.tar`);
      writeFileSync(file, gunzipSync(Buffer.from(ARCHIVES[format], 'base64')));
      const source = await readSource(file);
      expect(labelsOf(source)).toEqual({ [long]: 'wasp', 'b.jpg': 'ant' });
      const { dataset } = source.parts.get('all')!;
      expect(String(bytesOf(dataset, 1))).toBe('one'.repeat(300));
      expect(source.leftOut).toBe('1 link or special file in a shard (c.jpg)');
    },
  );

  it('without images are counted beside others, and so are labels without an image', async () => {
    const folder = join(root, 'some-empty');
    mkdirSync(folder);
    copyFileSync(await archive('none.tar', []), join(folder, '0.tar'));
    copyFileSync(await archive('one.tar', [['a/1.jpg', 'x'], ['b/2.jpg', 'x'], ['a/3.cls', 'a']]), join(folder, '1.tar')); // prettier-ignore
    const source = await readSource(folder);
    expect(source.parts.get('all')!.dataset.length).toBe(2);
    expect(source.leftOut).toMatch(/1 label without an image, in a shard \(a\/3.cls\)/);
    expect(source.leftOut).toMatch(/1 shard without images \(.*0\.tar\)/);
    writeFileSync(join(folder, '0.tar'), '');
    expect(await codeOf(readSource(folder))).toBe('file-corrupt');
  });

  it('that can be read in two ways are refused: two images of a sample, two labels, parts within', async () => {
    expect(await refusal('mask.tar', [['1.jpg', 'x'], ['1.mask.png', 'y'], ['1.cls', 'a']])).toMatch(/two images[^]*1\.jpg and 1\.mask\.png/); // prettier-ignore
    expect(await refusal('labels.tar', [['1.jpg', 'x'], ['1.a.cls', 'a'], ['1.b.cls', 'b']])).toMatch(/no label[^]*2 of other names/); // prettier-ignore
    expect(await refusal('whole.tar', [['set/train/a/1.jpg', 'x'], ['set/val/a/2.jpg', 'y']])).toMatch(/parts of a data set as folders[^]*train\/a/); // prettier-ignore
    const both = join(root, 'both');
    mkdirSync(join(both, 'train/ant'), { recursive: true });
    copyFileSync(join(shards, 'train-000000.tar'), join(both, 'download.tar'));
    await expect(readSource(both)).rejects.toThrow(/archives and folders[^]*download\.tar[^]*train/);
  });

  it('that are compressed, or have no label, are refused by name', async () => {
    for (const name of ['x.tar.gz', 'x.tgz', 'x.tar.zst']) {
      writeFileSync(join(root, name), 'x');
      await expect(readSource(join(root, name))).rejects.toThrow(/compressed[^]*unpack/i);
    }
    const folder = join(root, 'packed');
    mkdirSync(folder);
    writeFileSync(join(folder, 'train-0.tar.gz'), 'x');
    await expect(readSource(folder)).rejects.toThrow(/compressed/);
    expect(await refusal('nolabel.tar', [['1.jpg', 'x'], ['1.txt', 'a bee']])).toMatch(/1\.jpg in[^]*no label|no label[^]*1\.jpg in/); // prettier-ignore
    expect(await refusal('caption.tar', [['1.jpg', 'x'], ['1.json', '{"caption":"a bee"}']])).toMatch(/1\.json, which has no label/); // prettier-ignore
    expect(
      await refusal('blank.tar', [
        ['a/1.jpg', 'x'],
        ['a/1.cls', ' '],
      ]),
    ).toMatch(/a\/1\.cls, which has no label/);
  });

  it('end with a named error: a name twice, nothing, cut short, no tar, changed since', async () => {
    expect(await refusal('twice.tar', [['a/1.jpg', picture()], ['a/1.jpg', picture()]])).toMatch(/two members of the same name/); // prettier-ignore
    expect(await refusal('empty.tar', [['readme.md', 'x']])).toMatch(/hold no images/);
    const cut = join(root, 'cut.tar');
    copyFileSync(join(shards, 'train-000000.tar'), cut);
    truncateSync(cut, 900);
    expect(await codeOf(readSource(cut))).toBe('file-corrupt');
    writeFileSync(join(root, 'text.tar'), 'x'.repeat(2000));
    expect(await codeOf(readSource(join(root, 'text.tar')))).toBe('file-corrupt');
    const members: [string, Buffer][] = [['a/1.jpg', picture()], ['b/2.jpg', picture()]]; // prettier-ignore
    const inside = await archive('inside.tar', members);
    truncateSync(inside, 512 + picture().length - 1);
    await expect(readSource(inside)).rejects.toThrow(/cut short[^]*a\/1\.jpg in/);
    // One letter of the second member's name: only the sum of its header tells.
    const damaged = await archive('damaged.tar', members);
    const bytes = readFileSync(damaged);
    bytes[bytes.indexOf('b/2.jpg')] = 'c'.charCodeAt(0);
    writeFileSync(damaged, bytes);
    await expect(readSource(damaged)).rejects.toThrow(/a header whose sum is wrong/);
    expect(await codeOf(readSource(join(shards, 'train-{000000..000009}.tar')))).toBe('file-unreadable');
    const changing = await archive('changing.tar', [
      ['a/1.jpg', picture()],
      ['b/1.jpg', picture()],
    ]);
    const { dataset } = (await readSource(changing)).parts.get('all')!;
    await dataset.image(0);
    appendFileSync(changing, Buffer.alloc(512));
    expect(() => dataset.image(0)).toThrow(/has changed/);
  });

  it('survive mutated bytes: a list or an error that says so', async () => {
    const good = readFileSync(
      await archive('good.tar', [
        ['a/1.jpg', 'x'.repeat(700)],
        ['b/2.jpg', 'y'],
      ]),
    );
    const file = join(root, 'mutated.tar');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 5 }),
        fc.nat(good.length),
        (edits, length) => {
          const bytes = Buffer.from(good);
          for (const [at, value] of edits) bytes[at] = value;
          writeFileSync(file, bytes.subarray(0, length));
          try {
            for (const { offset, bytes: size } of listTar(file).members)
              expect(offset + size).toBeLessThanOrEqual(length);
          } catch (error) {
            expect(error).toBeInstanceOf(DeitError);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('the index of a shard', () => {
  const kept = (): string[] => readdirSync(join(root, 'cache-home/deit-webgpu/shards'));

  it('is kept: the headers are not read again, and what is known is the same', async () => {
    const file = await archive('kept.tar', [['a/1.jpg', 'one'], ['b/2.jpg', 'two'], ['b/3.jpg', 'three'], ['b/3.cls', 'c'], ['x.heic', '']]); // prettier-ignore
    const before = kept().length;
    utimesSync(file, 1e9, 1e9);
    const first = await readSource(file);
    expect(kept()).toHaveLength(before + 1);
    // Headers in ruins, behind the size and time that the index knows.
    const bytes = readFileSync(file);
    bytes.fill('x', 0, 100);
    writeFileSync(file, bytes);
    utimesSync(file, 1e9, 1e9);
    const again = await readSource(file);
    expect(again.classes).toEqual(['a', 'b', 'c']);
    expect([again.leftOut, again.notes]).toEqual([first.leftOut, first.notes]);
    expect(again.leftOut).toContain('HEIC');
    const { dataset } = again.parts.get('all')!;
    expect([0, 1, 2].map((i) => String(bytesOf(dataset, i)))).toEqual(['one', 'two', 'three']);
    expect([0, 1, 2].map((i) => dataset.path!(i))).toEqual(
      ['a/1', 'b/2', 'b/3'].map((name) => join(file, `${name}.jpg`)),
    );
    expect(kept()).toHaveLength(before + 1);
  });

  it('is made anew with a line where the shard has changed, and without where the index is damaged', async () => {
    const file = await archive('renewed.tar', [['a/1.jpg', 'x'], ['b/2.jpg', 'y']]); // prettier-ignore
    const path = join(root, 'cache-home/deit-webgpu/shards', `${createHash('sha256').update(file).digest('hex').slice(0, 32)}.json`); // prettier-ignore
    expect((await readSource(file)).notes).toEqual(['1 shard (tar)']);
    const index = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    const offsets = index.offsets as number[];
    for (const damaged of ['', '{', '[]', { ...index, offsets: [offsets[0]] }, { ...index, offsets: [offsets[0], 1e9] }, { ...index, label: [-1, 0] }, { ...index, names: 'a' }]) {
      writeFileSync(path, typeof damaged === 'string' ? damaged : JSON.stringify(damaged));
      const { notes, classes } = await readSource(file);
      expect([notes, classes]).toEqual([['1 shard (tar)'], ['a', 'b']]);
      expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(index);
    } // prettier-ignore
    await archive('renewed.tar', [['a/1.jpg', 'x'], ['c/2.jpg', 'y'], ['c/3.jpg', 'y']]); // prettier-ignore
    const changed = await readSource(file);
    expect([changed.classes, changed.parts.get('all')!.dataset.length]).toEqual([['a', 'c'], 3]);
    expect(changed.notes).toEqual(['1 shard (tar)', `changed since they were last listed, and listed anew: ${file}`]);
  });
});

describe('deit data check', () => {
  it('finds what cannot be read, and held-out images that are in training', async () => {
    const bad = join(root, 'bad');
    for (const split of ['train', 'val'])
      for (const name of ['a', 'b']) mkdirSync(join(bad, split, name), { recursive: true });
    for (const name of ['train/a/1.jpg', 'val/a/2.jpg']) writeFileSync(join(bad, name), picture());
    copyFileSync(join(folders, 'train/bee/long.2.jpg'), join(bad, 'train/b/3.jpg'));
    copyFileSync(join(folders, 'train/bee/long.2.jpg'), join(bad, 'train/b/4.jpg'));
    writeFileSync(join(bad, 'val/b/5.jpg'), picture().subarray(0, 200));
    const report = await checkData(bad);
    expect(report.parts.map(({ part, images, unreadable }) => [part, images, unreadable.length])).toEqual([['train', 3, 0], ['val', 2, 1]]); // prettier-ignore
    expect(report.heldOutDuplicates).toEqual([{ heldOut: join(bad, 'val/a/2.jpg'), training: join(bad, 'train/a/1.jpg') }]); // prettier-ignore
    expect(report.repeated).toBe(1);
    expect(report.parts[0].shorterSide).toEqual([31, 32, 32]);
  });
});
