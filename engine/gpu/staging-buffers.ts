import { MapMode } from './constants.ts';

/** Who gets what a recorded step sends to the host. */
export interface Receiver {
  /** Called at every replay, with memory that is there until this returns. */
  take(content: ArrayBuffer): void;
  /** It will not come: the device was lost, say. */
  fail(error: unknown): void;
}

/** Host memory that a recorded step copies to, again and again: nothing is allocated in a replay. */
export class Download {
  constructor(
    readonly buffer: GPUBuffer,
    readonly bytes: number,
    private readonly receiver: Receiver,
  ) {}

  /** Called where the step that was to fill it does not run. */
  fail(error: unknown): void {
    this.receiver.fail(error);
  }

  /** Called when the copy has been submitted: waits for it, and hands the content over. */
  async handOver(): Promise<void> {
    try {
      await this.buffer.mapAsync(MapMode.READ, 0, this.bytes);
      try {
        this.receiver.take(this.buffer.getMappedRange(0, this.bytes));
      } finally {
        this.buffer.unmap();
      }
    } catch (error) {
      this.receiver.fail(error);
    }
  }
}

/** Host memory that a recorded step copies from: written before each replay. */
export class Upload {
  private mapping: Promise<ArrayBuffer>;

  /** `buffer` is mapped at creation. */
  constructor(
    readonly buffer: GPUBuffer,
    readonly bytes: number,
  ) {
    this.mapping = Promise.resolve(buffer.getMappedRange(0, bytes));
  }

  /** Replaces the content, once the step of the last replay has taken it up. `fill` writes all of it. */
  async write(fill: (content: ArrayBuffer) => void): Promise<void> {
    fill(await this.mapping);
  }

  /** Called before the copy is submitted: the GPU cannot read what the host may write. */
  handOver(): void {
    this.buffer.unmap();
  }

  /** Called when the copy has been submitted. */
  reclaim(): void {
    this.mapping = this.buffer
      .mapAsync(MapMode.WRITE, 0, this.bytes)
      .then(() => this.buffer.getMappedRange(0, this.bytes));
    // A lost device is told of where the next content is written.
    this.mapping.catch(() => undefined);
  }
}
