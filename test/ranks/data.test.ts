/** Each rank loads the batches of its slices alone, and they are those of one process. */
import { describe, expect, it } from 'vitest';
import { DataLoader, MemoryDataset, epochSamples, trainingPipeline } from '../../deit/node.ts';
import { inTurns, shareOf } from '../../deit/parallel/slices.ts';
import type { Share } from '../../deit/parallel/slices.ts';

const LENGTH = 512;
const dataset = new MemoryDataset({
  name: 'noise',
  split: 'train',
  classes: ['a', 'b'],
  imageSize: 8,
  labels: Uint8Array.from({ length: LENGTH }, (_, i) => i % 2),
  pixels: Uint8Array.from({ length: LENGTH * 8 * 8 * 3 }, (_, i) => (i * 31) % 251),
});
const pipeline = trainingPipeline({ imageSize: 8, crop: 'padded', autoAugment: null, erasing: null });
const BATCH = 16;

interface Options {
  readonly share?: Share;
  readonly dealtTo?: number;
  readonly first?: number;
}

async function load({ share, dealtTo, first }: Options) {
  const options = { dataset, pipeline, batchSize: BATCH, seed: 5, shuffle: true, dropLast: true, repeats: 3 };
  const loader = new DataLoader({ ...options, workers: 0, share, dealtTo });
  const batches = [];
  for await (const batch of loader.epoch(2, first)) batches.push(batch);
  return batches;
}

describe('what a rank loads', () => {
  it('is its slices of every step, with the pixels of one process', async () => {
    const one = await load({});
    expect(one.map(({ number }) => number)).toEqual(Array.from({ length: LENGTH / BATCH }, (_, i) => i));
    for (const rank of [0, 1]) {
      const own = await load({ share: shareOf({ rank, size: 2 }, 4), first: 4 });
      // Steps of four batches; this rank's are two in a row.
      expect(own.map(({ number }) => number)).toEqual(
        one.map(({ number }) => number).filter((number) => number >= 4 && Math.floor((number % 4) / 2) === rank),
      );
      for (const { number, images, indices } of own) {
        expect(indices).toEqual(one[number].indices);
        expect(images).toEqual(one[number].images);
      }
    }
  });

  it('is of an evaluation every batch in turn, also where they are no multiple of the ranks', async () => {
    const numbers = await Promise.all([0, 1, 2].map((rank) => load({ share: inTurns({ rank, size: 3 }) })));
    expect(numbers.map((own) => own.length)).toEqual([11, 11, 10]);
    expect(numbers.flatMap((own) => own.map(({ number }) => number)).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 32 }, (_, i) => i),
    );
  });

  it('strided, is what the sampler of DeiT gives to as many GPUs', async () => {
    const dealt = await load({ dealtTo: 4 });
    for (const rank of [0, 1, 2, 3]) {
      // RASampler: rank r has positions r, r + 4, r + 8, ... of the repeated list.
      const gpu = epochSamples({ length: LENGTH, shuffle: true, repeats: 3, processes: 4, rank }, 5, 2);
      const own = dealt.filter(({ number }) => number % 4 === rank);
      expect(own).toHaveLength(LENGTH / BATCH / 4);
      expect(own.flatMap(({ indices }) => [...indices])).toEqual(gpu.slice(0, LENGTH / 4).map(({ index }) => index));
    }
  });
});
