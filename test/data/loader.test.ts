import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bundled } from '../../bench/bundled.ts';
import { crop } from '../../deit/data/crop.ts';
import { MemoryDataset, SubsetDataset } from '../../deit/data/dataset.ts';
import type { Dataset, RgbImage } from '../../deit/data/dataset.ts';
import { describeLoading, noTimes } from '../../deit/data/load-times.ts';
import { cifar10SampleFolder, openCifar } from '../../deit/data/node/cifar-files.ts';
import { openData } from '../../deit/data/node/open.ts';
import { ImageWorkers } from '../../deit/data/node/image-workers.ts';
import { DataLoader } from '../../deit/data/node/loader.ts';
import type { Batch, LoaderOptions } from '../../deit/data/node/loader.ts';
import { evaluationPipeline, trainingPipeline } from '../../deit/data/pipeline.ts';
import { evaluationCrop, imagenetNormalization } from '../../deit/data/transforms.ts';
import { collectBatches, loaderOptions, makePhotos, summary, training } from '../support/loader-batches.ts';

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

describe('batches', () => {
  it('are the same to the bit whatever the number of threads and of batches made ahead', async () => {
    const reference = summary(await collect({ workers: 0 }));
    expect(reference).toHaveLength(4);
    for (const [workers, prefetch] of [
      [1, 1],
      [3, 2],
      [2, 7],
    ]) {
      expect(summary(await collect({ workers, prefetch })), `${workers} threads`).toEqual(reference);
    }
  });

  it('can be taken up in the middle of an epoch', async () => {
    const all = summary(await collect({ workers: 0 }));
    expect(summary(await collect({ workers: 0 }, 2, 3))).toEqual(all.slice(3));
    expect(summary(await collect({ workers: 0 }, 3))).not.toEqual(all);
  });

  it('hold what the data set has, image by image', async () => {
    const pipeline = evaluationPipeline({ imageSize: 24, cropPct: 0.75 });
    const batches = await collect({ pipeline, shuffle: false, dropLast: false, workers: 0, batchSize: 10 });
    expect(batches.map(({ size }) => size)).toEqual([10, 10, 6]);
    expect(batches.flatMap(({ indices }) => [...indices])).toEqual(Array.from({ length: 26 }, (_, i) => i));
    expect(batches.flatMap(({ labels }) => [...labels])).toEqual([
      ...Array<number>(13).fill(0),
      ...Array<number>(13).fill(1),
    ]);
    // Image 12 is the third of the second batch. Mean and deviation in double precision; rounding to single is 6e-8 relative.
    const image = evaluationCrop(await photos.image(12), pipeline);
    const { mean, std } = imagenetNormalization;
    for (const [c, y, x] of [
      [0, 0, 0],
      [1, 11, 5],
      [2, 23, 23],
    ]) {
      const expected = (image.data[(y * 24 + x) * 3 + c] / 255 - mean[c]) / std[c];
      expect(batches[1].images[((2 * 3 + c) * 24 + y) * 24 + x]).toBeCloseTo(expected, 5);
    }
  });

  it('show an image in the same way whatever its place: draws are of seed, epoch and image alone', async () => {
    const views = async (extra: Partial<LoaderOptions>): Promise<string[]> => {
      const shown: string[] = [];
      for (const batch of await collect({ workers: 0, dropLast: false, ...extra })) {
        const size = batch.images.length / batch.size;
        batch.indices.forEach((index, i) => {
          shown[index] = Buffer.from(batch.images.slice(i * size, (i + 1) * size).buffer).toString('base64');
        });
      }
      return shown;
    };
    const reference = await views({});
    expect(reference).toHaveLength(26);
    expect(new Set(reference).size).toBe(26);
    expect(await views({ shuffle: false, batchSize: 5 })).toEqual(reference);
    const halves = await Promise.all([0, 1].map((rank) => views({ processes: 2, rank })));
    expect(reference.map((_, index) => halves[0][index] ?? halves[1][index])).toEqual(reference);
    expect((await views({ seed: 10 })).filter((view, index) => view === reference[index])).toEqual([]);
  });

  it('come from memory without threads, and through threads alike', async () => {
    const { val } = await openCifar(cifar10SampleFolder());
    const pipeline = trainingPipeline({ imageSize: 32 });
    const extra = { dataset: val, pipeline, batchSize: 128 };
    const inline = await collect(extra);
    expect(inline).toHaveLength(3);
    expect(summary(await collect({ ...extra, workers: 2 }))).toEqual(summary(inline));
  });

  it('show an image several times with repeated augmentation, each time differently', async () => {
    const repeats = { repeats: 3, roundTo: 2, batchSize: 3, workers: 0 };
    const [first] = await collect(repeats);
    expect(new Set(first.indices).size).toBe(1);
    const size = first.images.length / 3;
    const views = [0, 1, 2].map((i) => first.images.subarray(i * size, (i + 1) * size).join());
    expect(new Set(views).size).toBe(3);
  });

  it('balanced, show classes equally often, each time differently, whatever the number of threads', async () => {
    const few = new SubsetDataset(photos, Uint32Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20));
    const balanced = { dataset: few, sampler: 'balanced', batchSize: 4 } as const;
    const inline = await collect({ ...balanced, workers: 0 });
    expect(summary(await collect({ ...balanced, workers: 2 }))).toEqual(summary(inline));
    const views = inline.flatMap(({ images, indices }) => {
      const size = images.length / indices.length;
      return [...indices].map((index, i) => [index, Buffer.from(images.slice(i * size, (i + 1) * size).buffer).toString('base64')] as const); // prettier-ignore
    });
    // The one blue image is half of the draws in the mean: 12 of 1/2 are 3 or more but for 2 % of the seeds.
    const ofTheOne = views.filter(([index]) => index === 11);
    expect(ofTheOne.length).toBeGreaterThan(2);
    expect(new Set(ofTheOne.map(([, view]) => view)).size).toBe(ofTheOne.length);
  });

  it('are made in the memory of those that were released, and are the same', async () => {
    const epochs = [await collect({ workers: 0 }, 0), await collect({ workers: 0 }, 1)];
    const loader = new DataLoader(options({ workers: 1, prefetch: 1 }));
    const rooms = new Set<ArrayBuffer>();
    for (const [epoch, expected] of epochs.entries()) {
      const seen: unknown[] = [];
      for await (const batch of loader.epoch(epoch)) {
        rooms.add(batch.bytes!.pixels.buffer);
        seen.push(...summary([batch]));
        batch.release();
        expect(() => batch.images).toThrow(/after it was released/);
      }
      expect(seen).toEqual(summary(expected));
    }
    await loader.close();
    // Eight batches; two in the making and one with the consumer.
    expect(rooms.size).toBeLessThanOrEqual(3);
  });

  it('count the time that the consumer waited', async () => {
    const loader = new DataLoader(options({ workers: 0 }));
    const start = performance.now();
    for await (const batch of loader.epoch(0)) {
      expect(batch.epoch).toBe(0);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const elapsed = (performance.now() - start) / 1000;
    expect(loader.waitSeconds).toBeGreaterThan(0);
    // The consumer's own 4 times 20 ms are not waiting; timers may fire a millisecond early.
    expect(loader.waitSeconds).toBeLessThan(elapsed - 4 * 0.019);
  });
});

describe('options', () => {
  it('are checked at once', () => {
    expect(() => new DataLoader(options({ batchSize: 0 }))).toThrow(/batchSize/);
    expect(() => new DataLoader(options({ batchSize: 27 }))).toThrow(/smaller than one batch[^]*27 images/);
    expect(() => new DataLoader(options({ prefetch: 0 }))).toThrow(/prefetch/);
    expect(() => new DataLoader(options({ workers: -1 }))).toThrow(/0 to 64/);
    expect(() => new DataLoader(options({ pipeline: { ...training, autoAugment: 'x' } }))).toThrow(/bad-config/);
    expect(() => new DataLoader(options({ repeats: 3 }))).toThrow(/at least 256 images/);
  });
});

describe('the cache', () => {
  it('gives the same evaluation batches, and notices a changed file', async () => {
    const folder = mkdtempSync(join(root, 'cache-'));
    const pipeline = evaluationPipeline({ imageSize: 24, cropPct: 0.75 });
    const cache = { folder, shorterSide: 32, interpolation: 'bicubic' } as const;
    const plain = { pipeline, shuffle: false, workers: 0 };
    const reference = summary(await collect(plain));
    expect(summary(await collect({ ...plain, cache }))).toEqual(reference);
    const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.rgb'));
    expect(entries).toHaveLength(24); // four batches of six
    expect(summary(await collect({ ...plain, cache, workers: 2 }))).toEqual(reference);
    // A damaged entry is made anew; an image that changed has an entry of its own.
    truncateSync(join(folder, entries[0]), 100);
    expect(summary(await collect({ ...plain, cache }))).toEqual(reference);
    await sharp({ create: { width: 60, height: 60, channels: 3, background: 'white' } }).toFile(
      photos.path!(0).replace('00.png', 'new.png'),
    );
    const changed = (await openData(root)).train;
    expect(changed.length).toBe(27);
    rmSync(photos.path!(0).replace('00.png', 'new.png'));
  });

  it('says when it cannot be written, even if unreadable images are skipped', async () => {
    writeFileSync(join(root, 'in-the-way'), '');
    const cache = { folder: join(root, 'in-the-way'), shorterSide: 32, interpolation: 'bicubic' } as const;
    for (const workers of [0, 1]) {
      await expect(collect({ cache, workers, unreadable: 'skip' })).rejects.toThrow(/file-unwritable/);
    }
  });
});

describe('threads', () => {
  /** Threads of this process as Linux counts them; 0 elsewhere, where the child process below is the check. */
  const threads = (): number => (existsSync('/proc/self/task') ? readdirSync('/proc/self/task').length : 0);

  it('end with the loader, also when the consumer stops early', async () => {
    await collect({ workers: 0 }); // starts the threads that sharp and Node keep
    const before = threads();
    const loader = new DataLoader(options({ workers: 2 }));
    for await (const batch of loader.epoch(0)) {
      expect(batch.number).toBe(0);
      if (before > 0) expect(threads()).toBeGreaterThan(before);
      break;
    }
    await loader.close();
    await vi.waitFor(() => expect(threads()).toBeLessThanOrEqual(before));
    await expect(loader.epoch(0).next()).rejects.toThrow(/after they were closed/);
  });

  it('can be shared by loaders, which then leave them running', async () => {
    const workers = new ImageWorkers(2);
    const a = new DataLoader(options({ workers }));
    const b = new DataLoader(options({ workers, pipeline: evaluationPipeline({ imageSize: 16 }) }));
    const [x, y] = await Promise.all([a.epoch(0).next(), b.epoch(0).next()]);
    expect([x.value?.images.length, y.value?.images.length]).toEqual([6 * 3 * 576, 6 * 3 * 256]);
    await a.close();
    expect((await b.epoch(1).next()).value?.size).toBe(6);
    await workers.close();
  });

  it('do not keep Node alive when nobody closes them', async () => {
    const program = await bundled('test/support/one-epoch.ts');
    const { stdout } = await promisify(execFile)(process.execPath, [program, root], { timeout: 60_000 });
    expect(stdout.trim()).toBe('24');
  });
});

describe('data sets in memory', () => {
  it('name images without a path by their number', async () => {
    const dataset = new MemoryDataset({
      name: 'm',
      split: 'train',
      classes: ['a', 'b'],
      imageSize: 2,
      labels: Uint8Array.of(0, 1),
      pixels: new Uint8Array(24),
    });
    // A padded crop of 24 pixels does not fit into 2 x 2: every image fails.
    const pipeline = trainingPipeline({ imageSize: 24, crop: 'padded' });
    await expect(collect({ dataset, pipeline, batchSize: 2 })).rejects.toThrow(/too small/);
  });
});

describe('the account of what batches cost', () => {
  it('has reading, decoding, augmentation and copies, which are what a job takes in all', async () => {
    const loader = new DataLoader(options({ workers: 0, batchSize: 8 }));
    const start = performance.now();
    for await (const batch of loader.epoch(0)) expect(batch.size).toBe(8);
    const elapsed = (performance.now() - start) / 1000;
    const { read, decode, augment, copy } = loader.times;
    for (const seconds of [read, decode, augment, copy]) expect(seconds).toBeGreaterThan(0);
    // One job at a time, so that nothing overlaps.
    expect(read + decode + augment + copy).toBeLessThanOrEqual(elapsed);
    // Another epoch costs as much again; nothing is reset.
    for await (const batch of loader.epoch(1)) expect(batch.size).toBe(8);
    expect(loader.times.decode).toBeGreaterThan(decode);
    await loader.close();
  });

  it('counts what is decoded only when the crop asks for it as decoding', async () => {
    const { width, height, data } = await photos.image(0);
    const slow: Dataset = {
      name: 'slow',
      split: 'train',
      classes: ['a', 'b'],
      length: 4,
      label: () => 0,
      image: () => {
        const wait = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
        const part: RgbImage['part'] = (rect) => (wait(), crop({ width, height, data }, rect));
        return Promise.resolve({ width, height, get data() { return (wait(), data); }, part }); // prettier-ignore
      },
    };
    const loader = new DataLoader(options({ dataset: slow, workers: 0, batchSize: 4 }));
    for await (const batch of loader.epoch(0)) expect(batch.size).toBe(4);
    // Four times 50 ms; timers may fire a millisecond early.
    expect(loader.times.decode).toBeGreaterThanOrEqual(0.196);
    expect(loader.times.augment).toBeLessThan(loader.times.decode);
  });
});

describe('what is said of it', () => {
  it('names the largest part first, and what helps against that', () => {
    expect(describeLoading(noTimes)).toBeNull();
    const { parts, advice } = describeLoading({ read: 1, decode: 6, augment: 3, copy: 0 })!;
    expect(parts).toBe('decoding 60 %, cropping and augmentation 30 %, reading files 10 %');
    expect(advice).toMatch(/data\.cache/);
    expect(describeLoading({ read: 8, decode: 1, augment: 1, copy: 0 })!.advice).toMatch(/disk/);
  });
});
