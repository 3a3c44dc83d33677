/**
 * Batches of images, decoded and augmented ahead of the training loop in worker threads. What a batch contains
 * depends on seed, epoch and batch number alone, whatever the number of threads. Node only.
 */
import { DeitError } from '../../../engine/index.ts';
import { allSlices, isInShare } from '../../parallel/slices.ts';
import type { Share } from '../../parallel/slices.ts';
import { labelsOf } from '../dataset.ts';
import type { Dataset } from '../dataset.ts';
import { ImageBytes } from '../image-bytes.ts';
import { addTimes, noTimes } from '../load-times.ts';
import type { LoadTimes } from '../load-times.ts';
import type { Pipeline } from '../pipeline.ts';
import { makeByteTransform, mostBoxes } from '../pipeline.ts';
import { batchCount, epochSamples, sampleCount } from '../sampler.ts';
import type { EpochSamples, Sample, SamplerOptions } from '../sampler.ts';
import type { CacheOptions } from './cache.ts';
import type { ImageFailure, ImageJob, ImageJobResult, SampleSource } from './image-jobs.ts';
import { imageName, ImageProblems } from './image-problems.ts';
import { ImageWorkers } from './image-workers.ts';

export interface LoaderOptions extends Omit<SamplerOptions, 'length' | 'balance'> {
  dataset: Dataset;
  pipeline: Pipeline;
  batchSize: number;
  seed: number;
  /** With shuffling: each image once (default), or drawn so that each class comes equally often. */
  sampler?: 'random' | 'balanced';
  /** Leave out the last, smaller batch of an epoch. */
  dropLast: boolean;
  /** Threads, or threads that several loaders share. Default: 2 where images are files, 0 where they are in memory. */
  workers?: number | ImageWorkers;
  /** Batches made ahead. Default 2. Without threads nothing is made ahead. */
  prefetch?: number;
  /** What an unreadable image does: end the run (default), or be left out, counted and named in `problems`. */
  unreadable?: 'fatal' | 'skip';
  /** Several loaders may share an account. */
  problems?: ImageProblems;
  cache?: CacheOptions;
  /** The batches that are wanted, by their numbers: of `of` in a row, `count` from number `first` on. Default: all. */
  share?: Share;
  /** Deals the samples of so many batches in a row out to them in turn, as DeiT's sampler deals them to GPUs. Default 1: no. */
  dealtTo?: number;
}

/** A batch of images as bytes; as floats when somebody asks for them. */
export class Batch {
  private floats: Float32Array<ArrayBuffer> | null = null;

  constructor(
    /** Number of the batch in its epoch. */
    readonly number: number,
    readonly epoch: number,
    private raw: ImageBytes | null,
    readonly labels: Int32Array<ArrayBuffer>,
    /** Indices in the data set, so that a report can name images. */
    readonly indices: Uint32Array,
    private readonly reuse: (room: ArrayBuffer) => void,
  ) {}

  get size(): number {
    return this.labels.length;
  }

  /** Normalized planes [size, 3, imageSize, imageSize]. From then on they are the batch: they may be changed. */
  get images(): Float32Array<ArrayBuffer> {
    return (this.floats ??= this.expectRaw().normalized());
  }

  /** The images for the GPU to normalize; null once `images` were asked for. */
  get bytes(): ImageBytes | null {
    return this.floats ? null : this.expectRaw();
  }

  /**
   * The images are no longer wanted: a later batch takes their memory, which else is found by the garbage collector, at a cost
   * of a tenth of loading. Labels and indices stay.
   */
  release(): void {
    if (this.raw) this.reuse(this.raw.pixels.buffer);
    this.raw = this.floats = null;
  }

  private expectRaw(): ImageBytes {
    if (this.raw) return this.raw;
    throw new DeitError('bad-argument', 'The images of a batch were asked for after it was released.');
  }
}

/** Samples sent to a thread at a time: small enough to share a batch between threads, large enough to be worth a message. */
const samplesPerJob = 8;

export class DataLoader {
  readonly batchSize: number;
  /** Time the consumer waited for batches so far, in seconds. */
  waitSeconds = 0;
  /** What its batches have cost so far. */
  times: LoadTimes = noTimes;
  /** Unreadable images that were left out, and what else there is to tell of images. */
  readonly problems: ImageProblems;
  private readonly workers: ImageWorkers;
  private readonly ownsWorkers: boolean;
  private readonly balance: SamplerOptions['balance'];
  /** Of results that were taken into batches: as many as there are jobs at a time. */
  private readonly rooms: ArrayBuffer[] = [];
  /** Of batches that were released, at most as many as are made ahead. */
  private readonly released: ArrayBuffer[] = [];

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
    makeByteTransform(options.pipeline); // a wrong option fails here, not in a thread
    this.batchSize = batchSize;
    if (options.sampler === 'balanced') this.balance = { labels: labelsOf(dataset), classes: dataset.classes.length };
    this.problems = options.problems ?? new ImageProblems();
    const { workers = dataset.path ? 2 : 0 } = options;
    this.ownsWorkers = typeof workers === 'number';
    this.workers = typeof workers === 'number' ? new ImageWorkers(workers) : workers;
    if (this.batchesPerEpoch > 0) return;
    throw new DeitError('bad-config', 'The data set is smaller than one batch.', {
      where: dataset.name,
      expected: `at least ${batchSize} images an epoch`,
      found: String(this.samplesPerEpoch),
      fix: 'Choose a smaller batch size (data.batchSize).',
    });
  }

  get batchesPerEpoch(): number {
    return batchCount(this.samplesPerEpoch, this.batchSize, this.options.dropLast);
  }

  /** The batches of an epoch from number `firstBatch` on: a run resumed there sees what an unbroken run would have seen. */
  async *epoch(epoch: number, firstBatch = 0): AsyncGenerator<Batch, void, undefined> {
    const { dataset, seed } = this.options;
    const samples = epochSamples(this.samplerOptions, seed, epoch);
    const count = batchCount(samples.length, this.batchSize, this.options.dropLast);
    const { ahead } = this;
    const queue: Promise<Loaded>[] = [];
    const enqueue = (number: number): void => {
      const loaded = this.load(samples, epoch, number);
      loaded.catch(() => undefined); // awaited in its turn, or given up by the consumer
      queue.push(loaded);
    };
    const { share = allSlices(1) } = this.options;
    const own = Array.from({ length: Math.max(0, count - firstBatch) }, (_, i) => firstBatch + i).filter((number) =>
      isInShare(share, number),
    );
    let next = 0;
    for (let taken = 0; taken < own.length; taken++) {
      while (next < own.length && queue.length < ahead) enqueue(own[next++]);
      const start = performance.now();
      const { batch, problems } = await queue.shift()!;
      this.waitSeconds += (performance.now() - start) / 1000;
      // Told here and not where they are met, so that it happens in the order of the batches.
      for (const [index, note] of problems.notes) this.problems.note(dataset, index, note);
      for (const [index, reason] of problems.failures) this.problems.skip(dataset, index, reason);
      if (batch.size > 0) yield batch;
    }
  }

  /** What people call an image of the data set: its file, where it is one. */
  nameOf(index: number): string {
    return imageName(this.options.dataset, index);
  }

  /** Ends the threads, unless they are shared. */
  async close(): Promise<void> {
    if (this.ownsWorkers) await this.workers.close();
  }

  /** Batches in the making at a time. */
  private get ahead(): number {
    return this.workers.count === 0 ? 1 : (this.options.prefetch ?? 2) + 1;
  }

  private get samplerOptions(): SamplerOptions {
    return { ...this.options, length: this.options.dataset.length, balance: this.balance };
  }

  private get samplesPerEpoch(): number {
    return sampleCount(this.samplerOptions);
  }

  private choose(samples: EpochSamples, number: number): Sample[] {
    const { batchSize } = this;
    const { dealtTo = 1 } = this.options;
    if (dealtTo === 1) return samples.slice(number * batchSize, (number + 1) * batchSize);
    const turn = number % dealtTo;
    const first = (number - turn) * batchSize + turn;
    return Array.from({ length: batchSize }, (_, i) => samples.at(first + i * dealtTo));
  }

  /** Loads a batch, and says what was wrong with its images. */
  private async load(samples: EpochSamples, epoch: number, number: number): Promise<Loaded> {
    const from = number * this.batchSize;
    const chosen = this.choose(samples, number);
    const { images, failures, notes } = await this.read(chosen, epoch);
    if (failures.length > 0 && (this.options.unreadable ?? 'fatal') === 'fatal') {
      const { code, message } = failures[0].error;
      throw new DeitError(code, 'An image of the data set cannot be used.', {
        found: message,
        fix: 'Mend or remove the file, or let unreadable images be skipped (data.unreadable=skip).',
      });
    }
    const problems: Problems = {
      failures: [],
      notes: notes.map(({ position, note }) => [chosen[position].index, note]),
    };
    const report = ({ position, error }: ImageFailure, of: readonly Sample[]): void =>
      void problems.failures.push([of[position].index, error.message]);
    for (const failure of failures) report(failure, chosen);
    const failed = failures.map(({ position }) => position);
    if (!this.options.dropLast) return { ...this.batchOf(without(chosen, images, failed), epoch, number), problems };
    // The places of unreadable images are filled from the samples that follow the batch, after the last from the first: a
    // function of seed, epoch and batch number alone, like the batch itself.
    for (let tried = 0; failed.length > 0;) {
      if (tried >= samples.length) throw noneReadable(this.options.dataset, problems);
      const next = Array.from({ length: failed.length }, (_, i) => samples.at((from + this.batchSize + tried + i) % samples.length)); // prettier-ignore
      tried += next.length;
      const more = await this.read(next, epoch);
      const isBad = new Set(more.failures.map(({ position }) => position));
      for (const failure of more.failures) report(failure, next);
      for (const [position, sample] of next.entries()) {
        if (isBad.has(position)) continue;
        const place = failed.shift()!;
        chosen[place] = sample;
        images.take(more.images, position, place, 1);
      }
    }
    return { ...this.batchOf({ samples: chosen, images }, epoch, number), problems };
  }

  private batchOf({ samples, images }: Read, epoch: number, number: number): { batch: Batch } {
    const { dataset } = this.options;
    const labels = Int32Array.from(samples, ({ index }) => dataset.label(index));
    const indices = Uint32Array.from(samples, ({ index }) => index);
    const reuse = (room: ArrayBuffer): void => {
      if (this.released.length < this.ahead) this.released.push(room);
    };
    return { batch: new Batch(number, epoch, images, labels, indices, reuse) };
  }

  /** Reads some samples; positions in the result count among them, in order. */
  private async read(samples: readonly Sample[], epoch: number): Promise<Images> {
    const { dataset, pipeline, seed, cache } = this.options;
    const boxes = mostBoxes(pipeline);
    const images = new ImageBytes(
      samples.length,
      pipeline.imageSize,
      boxes,
      pipeline.normalization,
      this.released.pop(),
    );
    const starts = Array.from({ length: Math.ceil(samples.length / samplesPerJob) }, (_, i) => i * samplesPerJob);
    const results = await Promise.all(
      starts.map(async (start) => {
        const part = samples.slice(start, start + samplesPerJob);
        const sources = await Promise.all(part.map((sample) => this.source(sample)));
        const job: ImageJob = {
          seed,
          epoch,
          pipeline,
          root: dataset.root,
          cache,
          samples: sources,
          room: this.rooms.pop(),
        };
        const result = await this.workers.run(job);
        const begin = performance.now();
        images.take(result, 0, start, part.length);
        this.times = addTimes(this.times, { ...result.times, copy: (performance.now() - begin) / 1000 });
        this.rooms.push(result.pixels.buffer);
        return result;
      }),
    );
    const moved = <Item extends { position: number }>(items: readonly Item[], i: number): Item[] =>
      items.map((item) => ({ ...item, position: starts[i] + item.position }));
    return {
      images,
      failures: results.flatMap(({ failures }, i) => moved(failures, i)),
      notes: results.flatMap(({ notes }, i) => moved(notes, i)),
    };
  }

  private async source(sample: Sample): Promise<Sample & SampleSource> {
    const { dataset } = this.options;
    if (dataset.path) return { ...sample, path: dataset.path(sample.index), range: dataset.range?.(sample.index) };
    return { ...sample, image: await dataset.image(sample.index) };
  }
}

/** Samples and their images. */
interface Read {
  samples: Sample[];
  images: ImageBytes;
}

type Images = Pick<ImageJobResult, 'failures' | 'notes'> & Pick<Read, 'images'>;

/** By image: why it could not be read, and how others were read. */
interface Problems {
  failures: [index: number, reason: string][];
  notes: [index: number, note: string][];
}

interface Loaded {
  batch: Batch;
  problems: Problems;
}

/** What is left of a batch without some of its samples. */
function without(samples: Sample[], images: ImageBytes, positions: readonly number[]): Read {
  if (positions.length === 0) return { samples, images };
  const left = [...samples.keys()].filter((position) => !positions.includes(position));
  const { imageSize, boxesPerImage, normalization } = images;
  const kept = new ImageBytes(left.length, imageSize, boxesPerImage, normalization);
  left.forEach((from, to) => kept.take(images, from, to, 1));
  return { samples: left.map((position) => samples[position]), images: kept };
}

const noneReadable = (dataset: Dataset, { failures }: Problems): DeitError =>
  new DeitError('bad-data', 'No image of the data set can be read.', {
    where: dataset.name,
    found: failures[0][1],
    fix: 'Mend the data set.',
  });
