import { Tensor, expectF16, to } from '../../engine/index.ts';
import type { Download, TensorEngine, Receiver, Upload } from '../../engine/index.ts';
import type { Optimizer } from '../../nn/index.ts';
import type { Communicator } from './communicator.ts';
import { HalfSum } from './half-sum.ts';

/** What gradients travel as. */
export type Wire = 'f32' | 'f16';

export interface ExchangeOptions {
  readonly ranks: Communicator;
  /** Its flat gradients are replaced by their sums over all ranks. */
  readonly optimizer: Optimizer;
  /** Bytes of gradients that leave at a time, while the backward pass goes on; Infinity: all at its end. */
  readonly bucketBytes: number;
  readonly wire: Wire;
  /** How many numbers of the host are summed as well. */
  readonly numbers: number;
}

/** Something that is summed over the ranks in every step. */
interface Bucket {
  readonly tensors: readonly Tensor[];
  readonly wire: Wire;
  readonly content: Content;
  readonly arrival: Arrival;
  readonly download: Download;
  readonly upload: Upload;
}

/**
 * Replaces gradients by their sums over all ranks, between the backward pass of a step's last slice and its update:
 *
 *     record backward:  exchange.leave(sums)                  also summed: tensors that are written by now
 *                       loss.backward(undefined, (leaf) => exchange.leaf(leaf))
 *                       exchange.leaveRest()
 *     each step:        replay backward; await exchange.sum(numbers); replay update
 *     record update:    exchange.arrive()
 *
 * What is recorded is recorded once. All ranks record the same step, so their buckets are the same.
 */
export class GradientExchange {
  private readonly engine: TensorEngine;
  private readonly buckets: Bucket[] = [];
  /** Gradients that are complete and have not left: where they begin and end in the flat buffer, in bytes. */
  private waiting: [number, number][] = [];
  private readonly extents: ReadonlyMap<Tensor, [number, number]>;
  /** Seconds that copies between the memory of the GPU's staging and of MPI took so far. */
  copying = 0;

  constructor(private readonly options: ExchangeOptions) {
    const { optimizer, wire } = options;
    this.engine = optimizer.engine;
    if (wire === 'f16') expectF16(this.engine, 'gradients that travel as f16');
    const { flat, parameters } = optimizer;
    const begins = [...parameters.map(([, { offset }]) => offset - flat.offset), flat.bytes];
    this.extents = new Map(parameters.map(([, tensor], i) => [tensor, [begins[i], begins[i + 1]]]));
  }

  /** Bytes that one rank sends in a step, with a ring of `size` ranks. */
  static wireBytes(gradientBytes: number, size: number, wire: Wire): number {
    return (2 * (size - 1) * (wire === 'f16' ? gradientBytes / 2 : gradientBytes)) / size;
  }

  /** Records that f32 tensors are summed too, with what they hold here. Called once, before any gradient leaves. */
  leave(tensors: readonly Tensor[]): void {
    this.open(tensors, 'f32', this.options.numbers);
  }

  /** Records that the gradient of this parameter is complete here. */
  leaf(leaf: Tensor): void {
    const extent = this.extents.get(leaf);
    if (!extent) return;
    this.waiting.push(extent);
    const bytes = this.waiting.reduce((sum, [begin, end]) => sum + end - begin, 0);
    if (bytes >= this.options.bucketBytes) this.leaveRest();
  }

  /** Records that all gradients leave that are complete. */
  leaveRest(): void {
    const { gradients } = this.options.optimizer;
    const ranges = merged(this.waiting);
    this.waiting = [];
    if (ranges.length === 0) return;
    const at = ([begin, end]: [number, number]): Tensor =>
      new Tensor(this.engine, gradients.storage, [(end - begin) / 4], 'f32', gradients.offset + begin);
    this.open(ranges.map(at), this.options.wire);
  }

  /**
   * To be called when the backward pass has been submitted: adds up all that leaves, in the order in which it does, and has the
   * sums ready for the update. `own` are `numbers` numbers of this rank, asked for as late as possible; resolves to their sums.
   */
  async sum(own: () => readonly number[]): Promise<number[]> {
    let summed = Promise.resolve();
    for (const { arrival, content, upload, download } of this.buckets) {
      this.copying += await arrival.next();
      // The buckets' first carries the numbers of the host behind what comes from the GPU.
      if (content.extra.length > 0) content.extra.set(own());
      // One after the other, so that all ranks call the same collectives in the same order.
      summed = summed
        .then(() => content.sum())
        .then(() =>
          upload.write((memory) => {
            const start = performance.now();
            new Uint8Array(memory).set(content.bytes.subarray(0, download.bytes));
            this.copying += (performance.now() - start) / 1000;
          }),
        );
      // An error is thrown where all are awaited.
      summed.catch(() => undefined);
    }
    await summed;
    return [...this.buckets[0].content.extra];
  }

  /** Records that the sums are there: in the flat gradients, and in the tensors that left with them. */
  arrive(): void {
    const { engine } = this;
    for (const { tensors, wire, upload } of this.buckets) {
      const arriving = wire === 'f16' ? tensors.map(({ shape }) => engine.empty(shape, 'f16', 'gradient')) : tensors;
      engine.staging.upload(upload, arriving);
      if (wire === 'f16') tensors.forEach((tensor, i) => engine.copy(to(arriving[i], 'f32'), tensor));
    }
  }

  /** Gives back the memory, when the recordings are released. */
  free(): void {
    for (const { download, upload } of this.buckets) {
      this.engine.staging.free(download);
      this.engine.staging.free(upload);
    }
  }

  private open(tensors: readonly Tensor[], wire: Wire, extra = 0): void {
    const { staging } = this.engine;
    const size = tensors.reduce((sum, tensor) => sum + tensor.size, 0);
    const content = (wire === 'f16' ? halves : floats)(this.options.ranks, size, extra);
    const arrival = new Arrival(content.bytes);
    const bytes = size * (wire === 'f16' ? 2 : 4);
    const download = staging.openDownload(bytes, arrival);
    staging.download(download, wire === 'f16' ? tensors.map((tensor) => to(tensor, 'f16')) : tensors);
    this.buckets.push({ tensors, wire, content, arrival, download, upload: staging.openUpload(bytes) });
  }
}

/** What is summed, on the host. */
interface Content {
  /** The same memory as bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Numbers behind those that come from the GPU. */
  readonly extra: Float32Array<ArrayBuffer>;
  sum(): Promise<void>;
}

function floats(ranks: Communicator, size: number, extra: number): Content {
  const numbers = new Float32Array(size + extra);
  return { bytes: new Uint8Array(numbers.buffer), extra: numbers.subarray(size), sum: () => ranks.sum(numbers) };
}

function halves(ranks: Communicator, size: number): Content {
  const halfSum = new HalfSum(ranks, size);
  return { bytes: new Uint8Array(halfSum.numbers.buffer), extra: new Float32Array(0), sum: () => halfSum.sum() };
}

/** Takes what comes from the GPU into memory of the host, once a step. */
class Arrival implements Receiver {
  private resolve!: (seconds: number) => void;
  private reject!: (error: unknown) => void;
  private coming = this.expect();

  constructor(private readonly memory: Uint8Array<ArrayBuffer>) {}

  take(content: ArrayBuffer): void {
    const start = performance.now();
    this.memory.set(new Uint8Array(content));
    this.resolve((performance.now() - start) / 1000);
  }

  fail(error: unknown): void {
    this.reject(error);
  }

  /** Resolves to the seconds that the copy took, when the content of this step is there. */
  async next(): Promise<number> {
    const seconds = await this.coming;
    this.coming = this.expect();
    return seconds;
  }

  private expect(): Promise<number> {
    const coming = new Promise<number>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // An error is thrown where it is awaited.
    coming.catch(() => undefined);
    return coming;
  }
}

/** Ranges in ascending order, those that touch each other as one. */
function merged(ranges: readonly (readonly [number, number])[]): [number, number][] {
  const joined: [number, number][] = [];
  for (const [begin, end] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last?.[1] === begin) last[1] = end;
    else joined.push([begin, end]);
  }
  return joined;
}
