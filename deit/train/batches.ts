import type { ImageBytes } from '../data/index.ts';
import type { HostImages } from '../image-input.ts';

/** One batch as it reaches the GPU. */
export interface Batch {
  readonly epoch: number;
  /** Number of the batch in its epoch. */
  readonly number: number;
  /** Images in the batch: the batch size, or fewer at the end of a validation set. */
  readonly size: number;
  /** [size, 3, H, W], normalised. */
  readonly images: Float32Array;
  /** The same before normalisation, where they came so: a quarter of the bytes, and the GPU does the rest. */
  readonly bytes?: ImageBytes | null;
  /** Class numbers [size]. */
  readonly labels: Int32Array;
  /** Numbers of the images in their data set, where somebody may ask for their names. */
  readonly indices?: Uint32Array;
  /** Says that the images are no longer wanted, so that their memory may be used again. */
  release?(): void;
}

/** The images of a batch as they are sent to the GPU. */
export const imagesOf = (batch: Batch): HostImages => batch.bytes ?? batch.images;

/** What people call an image of a validation batch. */
export const imageName = (source: BatchSource, { indices, number }: Batch, row: number): string =>
  source.nameOf(indices?.[row] ?? number * source.batchSize + row);

/** Where a loop gets its batches from: epochs that are a pure function of (seed, epoch), resumable at any batch. */
export interface BatchSource {
  readonly batchSize: number;
  readonly batchesPerEpoch: number;
  /** The batches of an epoch, from batch number `first` on. */
  epoch(epoch: number, first?: number): AsyncIterable<Batch>;
  /** Seconds that the consumer has waited for batches so far. */
  readonly waitSeconds: number;
  /** What people call an image of the data set: its file, where it is one. */
  nameOf(index: number): string;
}
