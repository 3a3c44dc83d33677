/** Tar shards: made by tar-stream and read by this code, against folders of the same images. */
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeitError } from '../../engine/index.ts';
import type { CacheOptions } from '../../deit/data/node/cache.ts';
import { checkData } from '../../deit/data/node/check-data.ts';
import { DataLoader } from '../../deit/data/node/loader.ts';
import { openData, readSource } from '../../deit/data/node/open.ts';
import { packShards } from '../../deit/data/node/pack.ts';
import { listTar } from '../../deit/data/node/tar.ts';
import { trainingPipeline } from '../../deit/data/pipeline.ts';

let root: string;
let folders: string;
let shards: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'deit-shards-'));
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
afterAll(() => rmSync(root, { recursive: true }));

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
  it('are labelled by .cls, as names or numbers, or by folders', async () => {
    const byName = await readSource(await archive('names.tar', [['1.jpg', picture()], ['1.cls', 'wasp\n'], ['2.jpg', picture()], ['2.cls', 'ant']])); // prettier-ignore
    expect(byName.classes).toEqual(['ant', 'wasp']);
    expect([0, 1].map((i) => byName.parts.get('all')!.dataset.path!(i).slice(-5))).toEqual(['2.jpg', '1.jpg']);
    const byNumber = await readSource(await archive('numbers.tar', [['1.jpg', picture()], ['1.cls', '10'], ['2.jpg', picture()], ['2.cls', '9']])); // prettier-ignore
    expect(byNumber.classes).toEqual(['9', '10']);
    const byFolder = await readSource(await archive('folders.tar', [['./wasp/1.jpg', picture()], ['./ant/1.jpg', picture()], ['./ant/x.heic', 'x']])); // prettier-ignore
    expect(byFolder.classes).toEqual(['ant', 'wasp']);
    expect(byFolder.leftOut).toContain('HEIC');
  });

  it('end with a named error: no label, a name twice, cut short, no tar, changed since', async () => {
    expect(await codeOf(readSource(await archive('nolabel.tar', [['1.jpg', picture()]])))).toBe('bad-data');
    expect(await codeOf(readSource(await archive('twice.tar', [['a/1.jpg', picture()], ['a/1.jpg', picture()]])))).toBe('bad-data'); // prettier-ignore
    expect(await codeOf(readSource(await archive('empty.tar', [['readme.md', 'x']])))).toBe('bad-data');
    const cut = join(root, 'cut.tar');
    copyFileSync(join(shards, 'train-000000.tar'), cut);
    truncateSync(cut, 900);
    expect(await codeOf(readSource(cut))).toBe('file-corrupt');
    writeFileSync(join(root, 'text.tar'), 'x'.repeat(2000));
    expect(await codeOf(readSource(join(root, 'text.tar')))).toBe('file-corrupt');
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
