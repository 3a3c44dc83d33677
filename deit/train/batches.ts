/** One batch as it reaches the GPU. */
export interface Batch {
  /** [size, 3, H, W], normalised. */
  readonly images: Float32Array;
  /** Class numbers; -1 for the filling of an incomplete evaluation batch. */
  readonly labels: Int32Array;
}

/** Where a training loop gets its batches from: epochs that are a pure function of (seed, epoch), resumable anywhere. */
export interface BatchSource {
  readonly batchSize: number;
  /** Batches in one epoch. */
  readonly batchesPerEpoch: number;
  /** The batches of an epoch, from batch number `first` on. */
  epoch(epoch: number, first?: number): AsyncIterable<Batch>;
  /** Milliseconds that the consumer has waited for batches so far. */
  readonly waitedMs: number;
}
