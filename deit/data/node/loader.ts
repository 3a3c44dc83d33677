/**
 * Batches of normalized images, decoded and augmented ahead of the training loop in worker threads. What a batch contains
 * depends on seed, epoch and batch number alone, whatever the number of threads. Node only.
 */
import { DeitError } from '../../../engine/index.ts';
import type { Dataset } from '../dataset.ts';
import type { Pipeline } from '../pipeline.ts';
import { makeTransform } from '../pipeline.ts';
import { batchCount, epochSamples, sampleCount } from '../sampler.ts';
import type { Sample, SamplerOptions } from '../sampler.ts';
import type { CacheOptions } from './cache.ts';
import type { ImageFailure, ImageJob, SampleSource } from './image-jobs.ts';
import { ImageWorkers } from './image-workers.ts';

export interface LoaderOptions extends Omit<SamplerOptions, 'length'> {
  dataset: Dataset;
  pipeline: Pipeline;
  batchSize: number;
  seed: number;
  /** Leave out the last, smaller batch of an epoch. */
  dropLast: boolean;
  /** Threads, or threads that several loaders share. Default: 2 where images are files, 0 where they are in memory. */
  workers?: number | ImageWorkers;
  /** Batches made ahead. Default 2. Without threads nothing is made ahead. */
  prefetch?: number;
  /** What an unreadable image does: end the run (default), or be left out, counted and named. */
  unreadable?: 'fatal' | 'skip';
  cache?: CacheOptions;
}

export interface Batch {
  /** Number of the batch in its epoch. */
  number: number;
  epoch: number;
  size: number;
  /** Planes [size, 3, imageSize, imageSize]. */
  images: Float32Array<ArrayBuffer>;
  labels: Int32Array<ArrayBuffer>;
  /** Indices in the data set, so that a report can name images. */
  indices: Uint32Array;
}

/** Samples sent to a thread at a time: small enough to share a batch between threads, large enough to be worth a message. */
const samplesPerJob = 8;

export class DataLoader {
  readonly batchSize: number;
  /** Time the consumer waited for batches so far, in seconds. */
  waitSeconds = 0;
  /** Unreadable images that were left out: path (or index) and the reason. */
  readonly skipped = new Map<string, string>();
  private readonly workers: ImageWorkers;
  private readonly ownsWorkers: boolean;

  constructor(private readonly options: LoaderOptions) {
    const { batchSize, dataset, prefetch = 2 } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new DeitError('bad-config', 'The batch size is not a positive integer.', {
        where: 'batchSize',
        expected: 'an integer of at least 1',
        found: String(batchSize),
      });
    }
    if (!Number.isInteger(prefetch) || prefetch < 1) {
      throw new DeitError('bad-config', 'At least one batch must be made ahead.', {
        where: 'prefetch',
        expected: 'an integer of at least 1',
        found: String(prefetch),
      });
    }
    makeTransform(options.pipeline); // a wrong option fails here, not in a thread
    this.batchSize = batchSize;
    const { workers = dataset.path ? 2 : 0 } = options;
    this.ownsWorkers = typeof workers === 'number';
    this.workers = typeof workers === 'number' ? new ImageWorkers(workers) : workers;
    if (this.batchesPerEpoch > 0) return;
    throw new DeitError('bad-config', 'The data set is smaller than one batch.', {
      where: dataset.name,
      expected: `at least ${batchSize} images an epoch`,
      found: String(this.samplesPerEpoch),
      fix: 'Choose a smaller batch size.',
    });
  }

  get batchesPerEpoch(): number {
    return batchCount(this.samplesPerEpoch, this.batchSize, this.options.dropLast);
  }

  /** The batches of an epoch from number `firstBatch` on: a run resumed there sees what an unbroken run would have seen. */
  async *epoch(epoch: number, firstBatch = 0): AsyncGenerator<Batch, void, undefined> {
    const { dataset, seed } = this.options;
    const samples = epochSamples({ ...this.options, length: dataset.length }, seed, epoch);
    const count = batchCount(samples.length, this.batchSize, this.options.dropLast);
    const ahead = this.workers.count === 0 ? 1 : (this.options.prefetch ?? 2) + 1;
    const queue: Promise<Batch>[] = [];
    const enqueue = (number: number): void => {
      const part = samples.slice(number * this.batchSize, (number + 1) * this.batchSize);
      const batch = this.load(part, epoch, number);
      batch.catch(() => undefined); // awaited in its turn, or given up by the consumer
      queue.push(batch);
    };
    let next = firstBatch;
    for (let number = firstBatch; number < count; number++) {
      while (next < count && queue.length < ahead) enqueue(next++);
      const start = performance.now();
      const batch = await queue.shift()!;
      this.waitSeconds += (performance.now() - start) / 1000;
      if (batch.size > 0) yield batch;
    }
  }

  /** What people call an image of the data set: its file, where it is one. */
  nameOf(index: number): string {
    const { dataset } = this.options;
    return dataset.path?.(index) ?? `image ${index} of ${dataset.name}`;
  }

  /** Ends the threads, unless they are shared. */
  async close(): Promise<void> {
    if (this.ownsWorkers) await this.workers.close();
  }

  private get samplesPerEpoch(): number {
    return sampleCount({ ...this.options, length: this.options.dataset.length });
  }

  private async load(samples: Sample[], epoch: number, number: number): Promise<Batch> {
    const { dataset, pipeline, seed, cache } = this.options;
    const size = 3 * pipeline.imageSize ** 2;
    const images = new Float32Array(samples.length * size);
    const failures: ImageFailure[] = [];
    const loadPart = async (start: number): Promise<void> => {
      const part = samples.slice(start, start + samplesPerJob);
      const sources = await Promise.all(part.map((sample) => this.source(sample)));
      const job: ImageJob = { seed, epoch, pipeline, root: dataset.root, cache, samples: sources };
      const result = await this.workers.run(job);
      images.set(result.images, start * size);
      failures.push(...result.failures.map((failure) => ({ ...failure, position: start + failure.position })));
    };
    const starts = Array.from({ length: Math.ceil(samples.length / samplesPerJob) }, (_, i) => i * samplesPerJob);
    await Promise.all(starts.map(loadPart));
    const batch: Batch = {
      number,
      epoch,
      size: samples.length,
      images,
      labels: Int32Array.from(samples, ({ index }) => dataset.label(index)),
      indices: Uint32Array.from(samples, ({ index }) => index),
    };
    return failures.length === 0 ? batch : this.withoutFailures(batch, failures);
  }

  private async source(sample: Sample): Promise<Sample & SampleSource> {
    const { dataset } = this.options;
    if (dataset.path) return { ...sample, path: dataset.path(sample.index) };
    return { ...sample, image: await dataset.image(sample.index) };
  }

  /**
   * With `skip`: batches of a fixed size (dropLast) fill the place of an unreadable image with the next readable one of the
   * batch, in a circle; other batches get smaller.
   */
  private withoutFailures(batch: Batch, failures: ImageFailure[]): Batch {
    failures.sort((a, b) => a.position - b.position);
    if ((this.options.unreadable ?? 'fatal') === 'fatal') {
      throw new DeitError(failures[0].error.code, 'An image of the data set cannot be used.', {
        found: failures[0].error.message,
        fix: 'Mend or remove the file, or let unreadable images be skipped (unreadable: skip).',
      });
    }
    const { dataset } = this.options;
    for (const { position, error } of failures) {
      const index = batch.indices[position];
      this.skipped.set(this.nameOf(index), error.message);
    }
    const failed = new Set(failures.map(({ position }) => position));
    const positions = Array.from({ length: batch.size }, (_, i) => i);
    const readable = positions.filter((position) => !failed.has(position));
    if (readable.length === 0 && this.options.dropLast) {
      throw new DeitError('bad-data', 'No image of a batch can be read.', {
        where: dataset.name,
        found: failures[0].error.message,
        fix: 'Mend the data set.',
      });
    }
    const chosen = this.options.dropLast
      ? positions.map((position) => readable.find((other) => other >= position) ?? readable[0])
      : readable;
    const size = batch.images.length / batch.size;
    const images = new Float32Array(chosen.length * size);
    chosen.forEach((from, to) => images.set(batch.images.subarray(from * size, (from + 1) * size), to * size));
    return {
      ...batch,
      size: chosen.length,
      images,
      labels: Int32Array.from(chosen, (position) => batch.labels[position]),
      indices: Uint32Array.from(chosen, (position) => batch.indices[position]),
    };
  }
}
