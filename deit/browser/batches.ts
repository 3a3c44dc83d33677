import { PhiloxStream, Purpose } from '../../engine/index.ts';
import { ImageBytes, batchCount, epochSamples, makeByteTransform, mostBoxes, sampleStream } from '../data/index.ts';
import type { ByteTransform, MemoryDataset, Pipeline } from '../data/index.ts';
import type { Batch, BatchSource } from '../train/batches.ts';

/** Batches of a data set in memory, made on the page's own thread: the same draws as the loader in Node makes. */
export class MemoryBatches implements BatchSource {
  readonly batchesPerEpoch: number;
  readonly waitSeconds = 0;
  private readonly transform: ByteTransform;
  private readonly training: boolean;

  constructor(
    private readonly dataset: MemoryDataset,
    private readonly pipeline: Pipeline,
    readonly batchSize: number,
    private readonly seed = 0,
  ) {
    this.transform = makeByteTransform(pipeline);
    this.training = pipeline.kind === 'training';
    this.batchesPerEpoch = batchCount(dataset.length, batchSize, this.training);
  }

  nameOf(index: number): string {
    return `image ${index} of ${this.dataset.name}`;
  }

  async *epoch(epoch: number, first = 0): AsyncGenerator<Batch> {
    const { dataset, pipeline, seed, training: shuffle } = this;
    const { imageSize, normalization } = pipeline;
    const samples = epochSamples({ length: dataset.length, shuffle }, seed, epoch);
    for (let number = first; number < this.batchesPerEpoch; number++) {
      const part = samples.slice(number * this.batchSize, (number + 1) * this.batchSize);
      const bytes = new ImageBytes(part.length, imageSize, mostBoxes(pipeline), normalization);
      part.forEach((sample, i) => {
        const draws = shuffle ? sampleStream(seed, epoch, sample) : new PhiloxStream(seed, Purpose.augment);
        bytes.setBoxes(i, this.transform(dataset.rgb(sample.index), draws, bytes.pixels, i * bytes.imageBytes));
      });
      yield {
        epoch,
        number,
        size: part.length,
        bytes,
        get images() {
          return bytes.normalized();
        },
        labels: Int32Array.from(part, ({ index }) => dataset.label(index)),
        indices: Uint32Array.from(part, ({ index }) => index),
      };
      // The page stays alive.
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
}
