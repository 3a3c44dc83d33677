/** Joins what several requests ask for at a time into batches. Pure. */

/** There are more items than there is room for. */
export class Busy extends Error {}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly isWanted: () => boolean;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

export interface BatcherOptions<Item, Result> {
  /** Results in the order of the items. */
  readonly run: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** Items of a batch at most. */
  readonly size: number;
  /** What a batch that is not full waits for more, in milliseconds. While one runs, all that come wait anyway. */
  readonly waitMs: number;
  /** Items that may wait. */
  readonly room: number;
}

/** One batch runs at a time: the next one is made of what has come meanwhile. */
export class Batcher<Item, Result> {
  private waiting: Waiting<Item, Result>[] = [];
  private isRunning = false;
  /** Batches and items so far, failed ones too. */
  readonly done = { batches: 0, items: 0 };

  constructor(private readonly options: BatcherOptions<Item, Result>) {}

  /** How many items wait. */
  get length(): number {
    return this.waiting.length;
  }

  /**
   * The results of items, in their order; they may be of several batches. Items whose `signal` has been aborted by their turn are
   * left out. Rejects with what running their batch throws, and with `Busy` where there is no room.
   */
  submit(items: readonly Item[], signal?: AbortSignal): Promise<Result[]> {
    if (this.waiting.length + items.length > this.options.room) return Promise.reject(new Busy());
    const isWanted = (): boolean => !signal?.aborted;
    const results = items.map(
      (item) => new Promise<Result>((resolve, reject) => void this.waiting.push({ item, isWanted, resolve, reject })),
    );
    void this.work();
    return Promise.all(results);
  }

  private async work(): Promise<void> {
    if (this.isRunning) return;
    this.isRunning = true;
    const { size, waitMs } = this.options;
    while (this.waiting.length > 0) {
      if (this.waiting.length < size) await new Promise((resolve) => setTimeout(resolve, waitMs));
      const batch: Waiting<Item, Result>[] = [];
      while (this.waiting.length > 0 && batch.length < size) {
        const one = this.waiting.shift()!;
        if (one.isWanted()) batch.push(one);
        else one.reject(new Error('nobody waits for this any more'));
      }
      if (batch.length > 0) await this.runBatch(batch);
    }
    this.isRunning = false;
  }

  private async runBatch(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    this.done.batches++;
    this.done.items += batch.length;
    try {
      const results = await this.options.run(batch.map(({ item }) => item));
      batch.forEach(({ resolve }, i) => resolve(results[i]));
    } catch (error) {
      // What is wrong with one item is not the fault of those that came with it.
      if (batch.length > 1) for (const one of batch) await this.runBatch([one]);
      else batch[0].reject(error);
    }
  }
}
