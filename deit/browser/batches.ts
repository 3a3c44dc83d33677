import { PhiloxStream, Purpose } from '../../engine/index.ts';
import { batchCount, epochSamples, makeTransform, sampleStream } from '../data/index.ts';
import type { MemoryDataset, Pipeline, Transform } from '../data/index.ts';
import type { Batch, BatchSource } from '../train/batches.ts';

/** Batches of a data set in memory, made on the page's own thread: the same draws as the loader in Node makes. */
export class MemoryBatches implements BatchSource {
  readonly batchesPerEpoch: number;
  readonly waitSeconds = 0;
  private readonly transform: Transform;
  private readonly imageSize: number;
  private readonly training: boolean;

  constructor(
    private readonly dataset: MemoryDataset,
    pipeline: Pipeline,
    readonly batchSize: number,
    private readonly seed = 0,
  ) {
    this.transform = makeTransform(pipeline);
    this.imageSize = pipeline.imageSize;
    this.training = pipeline.kind === 'training';
    this.batchesPerEpoch = batchCount(dataset.length, batchSize, this.training);
  }

  nameOf(index: number): string {
    return `image ${index} of ${this.dataset.name}`;
  }

  async *epoch(epoch: number, first = 0): AsyncGenerator<Batch> {
    const { dataset, seed, training: shuffle } = this;
    const samples = epochSamples({ length: dataset.length, shuffle }, seed, epoch);
    for (let number = first; number < this.batchesPerEpoch; number++) {
      const part = samples.slice(number * this.batchSize, (number + 1) * this.batchSize);
      const images = new Float32Array(part.length * 3 * this.imageSize ** 2);
      part.forEach((sample, i) => {
        const draws = shuffle ? sampleStream(seed, epoch, sample) : new PhiloxStream(seed, Purpose.augment);
        this.transform(dataset.rgb(sample.index), draws, images, (i * images.length) / part.length);
      });
      yield {
        epoch,
        number,
        size: part.length,
        images,
        labels: Int32Array.from(part, ({ index }) => dataset.label(index)),
        indices: Uint32Array.from(part, ({ index }) => index),
      };
      // The page stays alive.
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
}
