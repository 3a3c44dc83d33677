/** Images that cannot be read, or not quite as they are, in batches. */
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../../deit/data/dataset.ts';
import { ImageProblems } from '../../deit/data/node/image-problems.ts';
import { openData, openPart } from '../../deit/data/node/open.ts';
import { expectReadableClasses } from '../../deit/data/node/readable-classes.ts';
import { epochOrder } from '../../deit/data/sampler.ts';
import { ImageWorkers } from '../../deit/data/node/image-workers.ts';
import { DataLoader } from '../../deit/data/node/loader.ts';
import type { Batch, LoaderOptions } from '../../deit/data/node/loader.ts';
import { evaluationPipeline } from '../../deit/data/pipeline.ts';
import { ranksInProcess } from '../support/ranks.ts';
import { collectBatches, loaderOptions, makePhotos, summary } from '../support/loader-batches.ts';

let root: string;
let photos: Dataset;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'deit-loader-'));
  photos = await makePhotos(root);
});
afterAll(() => rmSync(root, { recursive: true }));

const options = (extra: Partial<LoaderOptions> = {}): LoaderOptions => loaderOptions(photos, extra);
const collect = (extra: Partial<LoaderOptions>, epoch?: number, firstBatch?: number): Promise<Batch[]> =>
  collectBatches(options(extra), epoch, firstBatch);

describe('unreadable images', () => {
  /** The training set with two files cut short. */
  async function damaged(): Promise<{ dataset: Dataset; bad: number[] }> {
    const folder = mkdtempSync(join(root, 'damaged-'));
    for (const name of ['a', 'b']) {
      mkdirSync(join(folder, 'train', name), { recursive: true });
      mkdirSync(join(folder, 'val', name), { recursive: true });
      for (let i = 0; i < 6; i++) {
        const bytes = await sharp(photos.path!(i)).png().toBuffer();
        for (const split of ['train', 'val']) writeFileSync(join(folder, split, name, `${i}.png`), bytes);
      }
    }
    const bad = [2, 3];
    const { train } = await openData(folder);
    for (const index of bad) truncateSync(train.path!(index), 500);
    return { dataset: train, bad };
  }

  it('end the run, naming the file, or are left out and counted', async () => {
    const { dataset, bad } = await damaged();
    const plain = { dataset, shuffle: false, batchSize: 4, pipeline: evaluationPipeline({ imageSize: 24 }) };
    for (const workers of [0, 2]) {
      await expect(collect({ ...plain, workers })).rejects.toThrow(/file-corrupt[^]*a\/2\.png/);
      const problems = new ImageProblems(0.2);
      const loader = new DataLoader(options({ ...plain, workers, unreadable: 'skip', problems, dropLast: false }));
      const seen: number[] = [];
      for await (const batch of loader.epoch(0)) {
        seen.push(...batch.indices);
        expect(batch.images.length).toBe(batch.size * 3 * 24 * 24);
        expect(batch.labels.length).toBe(batch.size);
      }
      await loader.close();
      expect(seen).toEqual([0, 1, 4, 5, 6, 7, 8, 9, 10, 11]);
      expect([...problems.skipped.keys()]).toEqual(bad.map((index) => dataset.path!(index)));
    }
  });

  it('are replaced by the images that follow, whatever the batch size and the number of threads', async () => {
    const { dataset } = await damaged();
    const skip = { dataset, shuffle: false, unreadable: 'skip', dropLast: true } as const;
    const indices = async (extra: Partial<LoaderOptions>): Promise<number[][]> =>
      (await collect({ ...skip, problems: new ImageProblems(0.2), workers: 0, ...extra })).map((batch) => [...batch.indices]); // prettier-ignore
    // 2 and 3 cannot be read. A batch takes what follows it, in order; batches are as many as ever.
    expect(await indices({ batchSize: 4 })).toEqual([
      [0, 1, 4, 5],
      [4, 5, 6, 7],
      [8, 9, 10, 11],
    ]);
    expect(await indices({ batchSize: 1 })).toEqual([
      [0],
      [1],
      [4],
      [4],
      ...[4, 5, 6, 7, 8, 9, 10, 11].map((i) => [i]),
    ]);
    expect((await indices({ batchSize: 2 })).slice(0, 2)).toEqual([
      [0, 1],
      [4, 5],
    ]);
    // In order of a shuffled epoch, and round to its beginning at the end.
    for (const batchSize of [1, 3, 12]) {
      const order = [...epochOrder(12, true, 9, 2)];
      const good = (place: number): boolean => ![2, 3].includes(order[place % 12]);
      const expected = Array.from({ length: 12 / batchSize }, (_, number) => {
        const follow = Array.from({ length: 12 }, (_, i) => (number + 1) * batchSize + i).filter(good);
        const own = Array.from({ length: batchSize }, (_, i) => number * batchSize + i);
        return own.map((place) => order[(good(place) ? place : follow.shift()!) % 12]);
      });
      expect(await indices({ batchSize, shuffle: true }), `${batchSize}`).toEqual(expected);
    }
  });

  it('are replaced by the same draws on every number of threads, and after a resume', async () => {
    const { dataset } = await damaged();
    const pools = [1, 2, 4].map((count) => new ImageWorkers(count));
    for (const batchSize of [1, 4]) {
      const skip = { dataset, batchSize, unreadable: 'skip' } as const;
      const run = (extra: Partial<LoaderOptions>, first = 0) => collect({ ...skip, problems: new ImageProblems(0.2), ...extra }, 2, first); // prettier-ignore
      const whole = summary(await run({ workers: 0 }));
      expect(whole).toHaveLength(12 / batchSize);
      for (const workers of pools)
        expect(summary(await run({ workers, prefetch: 3 })), `${workers.count}`).toEqual(whole);
      expect(summary(await run({ workers: pools[1] }, 2))).toEqual(whole.slice(2));
      // An image that fills a place is seen as in its own.
      const views = new Map<number, string>();
      for (const batch of await run({ workers: 0 })) {
        const size = batch.images.length / batch.size;
        batch.indices.forEach((index, i) => {
          const view = Buffer.from(batch.images.slice(i * size, (i + 1) * size).buffer).toString('base64');
          expect(views.get(index) ?? view).toBe(view);
          views.set(index, view);
        });
      }
    }
    await Promise.all(pools.map((workers) => workers.close()));
  });

  it('end the run where there are too many, or where nothing is left of a class, naming them', async () => {
    const { dataset, bad } = await damaged();
    const skip = { dataset, shuffle: false, batchSize: 1, workers: 0, unreadable: 'skip' } as const;
    // Two of twelve are more than a tenth, one is not.
    await expect(collect(skip)).rejects.toThrow(
      /Too many[^]*0\.1 of the 12 images[^]*2\.png[^]*3\.png[^]*data\.maxUnreadable/,
    );
    for (const i of [0, 1, 4, 5]) truncateSync(dataset.path!(i), 400);
    const most = { ...skip, problems: new ImageProblems(1) };
    await expect(collect(most)).rejects.toThrow(/No image of a class[^]*class "a"/);
    const workers = new ImageWorkers(1);
    await expect(expectReadableClasses(dataset, workers)).rejects.toThrow(/No image of a class[^]*class "a"/);
    writeFileSync(dataset.path!(5), await sharp(photos.path!(0)).png().toBuffer());
    await expectReadableClasses(dataset, workers);
    await workers.close();
    expect(bad).toEqual([2, 3]);
  });

  it('are counted over all ranks, once each; too many of them end all alike', async () => {
    const { dataset } = await damaged();
    const accounts = [0, 1].map(() => new ImageProblems(0.2));
    const [zero, one] = ranksInProcess(2);
    const share = () =>
      Promise.allSettled([accounts[0].share(zero, [dataset]), accounts[1].share(one, [dataset])]).then((ended) =>
        ended.map((end) => (end.status === 'rejected' ? String(end.reason) : 'well')),
      );
    accounts[0].skip(dataset, 2, 'cut off');
    accounts[1].skip(dataset, 2, 'cut off');
    accounts[1].note(dataset, 7, '16-bit grey');
    expect(accounts.map(({ hasNews }) => hasNews)).toEqual([true, true]);
    expect(await share()).toEqual(['well', 'well']);
    expect(accounts.map(({ hasNews }) => hasNews)).toEqual([false, false]);
    for (const account of accounts) {
      expect(account.lines()).toEqual([
        expect.stringMatching(/^1 images: 16-bit grey/),
        '1 image could not be read and was left out:',
        expect.stringMatching(/2\.png: cut off$/),
      ]);
    }
    // Two of twelve on either rank are allowed, three in all are not.
    accounts[0].skip(dataset, 3, 'empty');
    accounts[1].skip(dataset, 9, 'empty');
    expect(await share()).toEqual([expect.stringMatching(/Too many/), expect.stringMatching(/Too many/)]);
  });

  it('of a whole data set end it', async () => {
    const { dataset } = await damaged();
    for (let i = 0; i < dataset.length; i++) truncateSync(dataset.path!(i), 300);
    await expect(collect({ dataset, unreadable: 'skip', workers: 0 })).rejects.toThrow(/No image of the data set/);
  });
});

describe('images that are not read quite as they are', () => {
  it('are counted once each, with an example', async () => {
    const folder = mkdtempSync(join(root, 'deep-'));
    for (const name of ['a', 'b']) {
      mkdirSync(join(folder, name));
      const words = Uint16Array.from({ length: 64 }, (_, i) => 1000 * i);
      const deep = sharp(words, { raw: { width: 8, height: 8, channels: 1 } })
        .toColourspace('grey16')
        .png();
      await deep.toFile(join(folder, name, '0.png'));
      await sharp(photos.path!(0)).toFile(join(folder, name, '1.png'));
    }
    const { dataset } = await openPart(folder, undefined);
    const problems = new ImageProblems();
    const plain = {
      dataset,
      pipeline: evaluationPipeline({ imageSize: 8 }),
      shuffle: false,
      dropLast: false,
      problems,
    };
    for (const workers of [0, 1]) await collect({ ...plain, workers });
    expect(problems.lines()).toEqual([expect.stringMatching(/^2 images: 16-bit grey.*a\/0\.png\)$/)]);
  });
});
