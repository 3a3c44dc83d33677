/** Small sets of photos and loaders over them, for tests of what comes out of a loader. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { openData } from '../../deit/data/node/index.ts';
import type { Dataset } from '../../deit/data/dataset.ts';
import { DataLoader } from '../../deit/data/node/loader.ts';
import type { Batch, LoaderOptions } from '../../deit/data/node/loader.ts';
import { trainingPipeline } from '../../deit/data/pipeline.ts';

const imagesPerClass = 13;

/** Makes photos of two classes in `root`, each of another size, and opens those for training. */
export async function makePhotos(root: string): Promise<Dataset> {
  for (const split of ['train', 'val']) {
    for (const [label, name] of ['red', 'blue'].entries()) {
      mkdirSync(join(root, split, name), { recursive: true });
      for (let i = 0; i < imagesPerClass; i++) {
        const noise = { type: 'gaussian', mean: 90 + i, sigma: 30 } as const;
        const image = sharp({ create: { width: 50 + i, height: 40, channels: 3, background: 'grey', noise } });
        await image.tint(label ? 'blue' : 'red').toFile(join(root, split, name, `${String(i).padStart(2, '0')}.png`));
      }
    }
  }
  return (await openData(root)).train;
}

export const training = trainingPipeline({ imageSize: 24 });

export const loaderOptions = (dataset: Dataset, extra: Partial<LoaderOptions> = {}): LoaderOptions => ({
  dataset,
  pipeline: training,
  batchSize: 6,
  seed: 9,
  shuffle: true,
  dropLast: true,
  ...extra,
});

/** The batches of an epoch. */
export async function collectBatches(options: LoaderOptions, epoch = 2, firstBatch = 0): Promise<Batch[]> {
  const loader = new DataLoader(options);
  try {
    const batches: Batch[] = [];
    for await (const batch of loader.epoch(epoch, firstBatch)) batches.push(batch);
    return batches;
  } finally {
    await loader.close();
  }
}

/** Equality of many floats, without the slow walk of `toEqual`. */
const bytes = (batch: Batch): string => Buffer.from(batch.images.buffer).toString('base64');

/** All of some batches, to compare. */
export const summary = (batches: readonly Batch[]): unknown[] =>
  batches.map((batch) => [batch.number, batch.size, [...batch.labels], [...batch.indices], bytes(batch)]);
