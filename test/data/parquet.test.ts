/** Parquet files as pyarrow 26 writes them, with the columns and the metadata of the hub; images are PNG of one colour. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DeitError } from '../../engine/index.ts';
import { openData, readSource } from '../../deit/data/node/open.ts';
import { bytesOf } from '../../deit/data/node/pack.ts';
import type { Dataset } from '../../deit/data/dataset.ts';
import { shareOf } from '../../deit/parallel/slices.ts';
import { collectBatches, loaderOptions, summary } from '../support/loader-batches.ts';
import { TABLES } from '../cases/parquet.ts';

/** By row: the first digits of the image's SHA-256 as Python has it, and its label. */
const TRAIN: [string, number][] = [
  ['e40e030370797244', 0],
  ['c3bfe8b771f35771', 1],
  ['2ac15ce8b791ec8d', 0],
  ['056bdc282fc0c87e', 1],
  ['9a291a9f0b51b2f7', 0],
  ['9321b71a4f2d6296', 1],
  ['0f8ffd6507aab9b8', 0],
];
const VAL: [string, number][] = [
  ['a35896bd4fc2d025', 0],
  ['17f9deffe205c5b9', 1],
  ['91aabff6ae5fdcf0', 0],
];

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'deit-parquet-'));
  vi.stubEnv('XDG_CACHE_HOME', join(root, 'cache'));
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

function folderOf(name: string, files: Readonly<Record<string, keyof typeof TABLES>>): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  for (const [file, table] of Object.entries(files))
    writeFileSync(join(folder, file), Buffer.from(TABLES[table], 'base64'));
  return folder;
}

/** Sorted: the images of a class follow each other in a data set, whatever their rows. */
function contents(dataset: Dataset): [string, number][] {
  const all: [string, number][] = [];
  for (let i = 0; i < dataset.length; i++) {
    const digest = createHash('sha256').update(bytesOf(dataset, i)).digest('hex');
    all.push([digest.slice(0, 16), dataset.label(i)]);
  }
  return all.sort();
}

const refusal = async (path: string): Promise<string> => {
  const error: unknown = await readSource(path).then(() => null, (thrown: unknown) => thrown); // prettier-ignore
  expect(error).toBeInstanceOf(DeitError);
  return (error as DeitError).message;
};

describe('Parquet files', () => {
  it('hold the images and labels that Python wrote, in parts by name, with names of classes', async () => {
    const files = {
      'train-00000-of-00001.parquet': 'train',
      'validation-00000-of-00001.parquet': 'validation',
    } as const;
    folderOf('hub/data', files);
    const { train, val, split, kind } = await openData(join(root, 'hub'));
    expect([kind, split, train.classes]).toEqual(['parquet', 'given', ['ant', 'bee']]);
    expect(contents(train)).toEqual([...TRAIN].sort());
    expect(contents(val)).toEqual([...VAL].sort());
    expect((await train.image(0)).width).toBe(10);
  });

  it('may be compressed otherwise, have labels of text, and stand alone', async () => {
    const folder = folderOf('others', { 'zstd.parquet': 'zstd', 'strings.parquet': 'strings' });
    const zstd = await readSource(join(folder, 'zstd.parquet'));
    expect(contents(zstd.parts.get('all')!.dataset)).toEqual([...TRAIN].sort());
    const strings = await readSource(join(folder, 'strings.parquet'));
    expect(strings.classes).toEqual(['ant', 'bee']);
    expect(contents(strings.parts.get('all')!.dataset)).toEqual([...TRAIN].sort());
  });

  it('are shown like a folder of the same images, by seed, epoch and image, with and without threads', async () => {
    const parquet = (await readSource(folderOf('draws', { 'train.parquet': 'train' }))).parts.get('train')!.dataset;
    const folder = join(root, 'as-folder');
    for (let i = 0; i < parquet.length; i++) {
      const target = join(folder, parquet.classes[parquet.label(i)]);
      mkdirSync(target, { recursive: true });
      writeFileSync(join(target, `${i}.png`), bytesOf(parquet, i));
    }
    const plain = (await readSource(folder)).parts.get('all')!.dataset;
    const batches = (dataset: Dataset, workers: number) =>
      collectBatches(loaderOptions(dataset, { batchSize: 3, workers }));
    const expected = summary(await batches(plain, 0));
    expect(expected).toHaveLength(2);
    expect(summary(await batches(parquet, 0))).toEqual(expected);
    expect(summary(await batches(parquet, 1))).toEqual(expected);
  });

  it('may have several columns of labels, of which one is to be chosen', async () => {
    const file = join(folderOf('cifar100', { 'train.parquet': 'twoLabels' }), 'train.parquet');
    expect(await refusal(file)).toMatch(
      /cannot be told[^]*img, fine_label, coarse_label[^]*data\.labelColumn[^]*fine_label/,
    );
    const by = async (labelColumn: string) => {
      const { classes, parts } = await readSource(file, { labelColumn });
      const { dataset } = parts.get('train')!;
      return [classes, Array.from({ length: dataset.length }, (_, i) => dataset.label(i))];
    };
    // Rows 0 to 4 are of fine classes 0, 1, 2, 0, 1 and coarse ones 1, 0, 1, 1, 0; a data set has its classes in order.
    expect(await by('fine_label')).toEqual([
      ['apple', 'bee', 'cup'],
      [0, 0, 1, 1, 2],
    ]);
    expect(await by('coarse_label')).toEqual([
      ['animal', 'thing'],
      [0, 0, 1, 1, 1],
    ]);
    await expect(by('label')).rejects.toThrow(/cannot be told[^]*expected: label/);
    await expect(by('img')).rejects.toThrow(/cannot be told/);
    await expect(readSource('cifar10-sample', { labelColumn: 'label' })).rejects.toThrow(/Only Parquet/);
  });

  it('are loaded on two ranks as the slices of one process', async () => {
    const { dataset } = (await readSource(folderOf('ranks', { 'train.parquet': 'train' }))).parts.get('train')!;
    const share = (rank: number) => collectBatches(loaderOptions(dataset, { batchSize: 1, workers: 0, share: shareOf({ rank, size: 2 }, 2) })); // prettier-ignore
    const [one, first, second] = [await collectBatches(loaderOptions(dataset, { batchSize: 1, workers: 0 })), await share(0), await share(1)]; // prettier-ignore
    expect(one).toHaveLength(7);
    expect(first.map(({ number }) => number)).toEqual([0, 2, 4, 6]);
    const byNumber = [...first, ...second].sort((a, b) => a.number - b.number);
    expect(summary(byNumber)).toEqual(summary(one));
  });

  it('are laid out once, and anew when they change', async () => {
    const folder = folderOf('again', { 'train.parquet': 'train' });
    const layouts = (): number => readdirSync(join(root, 'cache/deit-webgpu/parquet')).length;
    const before = existsSync(join(root, 'cache/deit-webgpu/parquet')) ? layouts() : 0;
    await readSource(folder);
    await readSource(folder);
    expect(layouts()).toBe(before + 1);
    folderOf('again', { 'train.parquet': 'validation' });
    expect(contents((await readSource(folder)).parts.get('train')!.dataset)).toEqual([...VAL].sort());
    expect(layouts()).toBe(before + 2);
  });

  it('without images or labels, or damaged, are named, and leave nothing behind', async () => {
    const folder = folderOf('bad', { 'a.parquet': 'noimages', 'b.parquet': 'nolabel', 'c.parquet': 'empty', 'd.parquet': 'text' }); // prettier-ignore
    const before = readdirSync(join(root, 'cache/deit-webgpu/parquet'));
    expect(await refusal(join(folder, 'a.parquet'))).toMatch(
      /not one column of images[^]*none among the columns text, label/,
    );
    expect(await refusal(join(folder, 'b.parquet'))).toMatch(/row 0[^]*a label in column label/);
    expect(await refusal(join(folder, 'c.parquet'))).toMatch(/row 0[^]*bytes of an image/);
    expect(await refusal(join(folder, 'd.parquet'))).toMatch(/the columns image, species/);
    writeFileSync(join(folder, 'e.parquet'), 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n');
    expect(await refusal(join(folder, 'e.parquet'))).toMatch(/cannot be read[^]*Git LFS/);
    expect(readdirSync(join(root, 'cache/deit-webgpu/parquet'))).toEqual(before);
  });

  it('of which bytes are changed or cut off are read or refused by name', async () => {
    const good = Buffer.from(TABLES.train, 'base64');
    let number = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(good.length),
        fc.boolean(),
        async (edits, length, isCut) => {
          const bytes = Buffer.from(isCut ? good.subarray(0, length) : good);
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          const file = join(root, `fuzz-${number++}.parquet`);
          writeFileSync(file, bytes);
          const error: unknown = await readSource(file).then(() => null, (thrown: unknown) => thrown); // prettier-ignore
          if (error !== null) expect(error).toBeInstanceOf(DeitError);
        },
      ),
      { numRuns: 100 },
    );
  });
});
