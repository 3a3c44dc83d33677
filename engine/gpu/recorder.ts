import { DeitError } from '../../kernels/lib/errors.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import { Encoder } from './encoder.ts';
import type { EncodedBatch } from './encoder.ts';
import type { GpuContext } from './context.ts';
import type { PipelineEntry } from './pipelines.ts';
import { PipelineCache } from './pipelines.ts';
import { planMemory } from './memory-plan.ts';
import type { Lifetime, MemoryPlan } from './memory-plan.ts';
import { BufferPool } from './buffer-pool.ts';
import type { Download, Upload } from './staging-buffers.ts';
import type { PhysicalBuffer, Storage } from './storage.ts';

/** A region of a storage that a command touches. */
export interface Region {
  readonly storage: Storage;
  readonly offset: number;
  readonly size: number;
}

export interface DispatchCommand {
  readonly kind: 'dispatch';
  /** Operator and shapes, for errors and profiles. */
  readonly where: string;
  readonly launch: Launch;
  readonly pipeline: PipelineEntry;
  readonly regions: readonly Region[];
}
export interface CopyCommand {
  readonly kind: 'copy';
  readonly from: Region;
  readonly to: Region;
}
export interface WriteCommand {
  readonly kind: 'write';
  readonly to: Region;
  readonly data: Uint8Array<ArrayBuffer>;
}
export interface ReadCommand {
  readonly kind: 'read';
  readonly from: Region;
  readonly resolve: (content: ArrayBuffer) => void;
  readonly reject: (error: unknown) => void;
}
export interface DownloadCommand {
  readonly kind: 'download';
  readonly from: readonly Region[];
  readonly to: Download;
}
export interface UploadCommand {
  readonly kind: 'upload';
  readonly from: Upload;
  readonly to: readonly Region[];
}
export interface FreeCommand {
  readonly kind: 'free';
  readonly storage: Storage;
}
export type Command =
  DispatchCommand | CopyCommand | WriteCommand | ReadCommand | DownloadCommand | UploadCommand | FreeCommand;

/** What a submitted command list was, for replay and for the memory account. */
export interface SubmittedBatch {
  readonly encoded: EncodedBatch;
  /** Buffers that transient storages shared. */
  readonly slots: readonly PhysicalBuffer[];
  readonly kept: ReadonlyMap<Storage, PhysicalBuffer>;
  /** Of the transient storages, for the account of how good the plan was. */
  readonly lifetimes: readonly Lifetime[];
}

/**
 * Work is recorded first and submitted as a list: memory for transient tensors is then planned over the whole list,
 * by lifetime, and a step is one submit. Lists reach the GPU in the order they were flushed; a list whose pipelines
 * are still compiling holds up those behind it, not the caller.
 */
export class Recorder {
  readonly pipelines: PipelineCache;
  readonly pool: BufferPool;
  readonly encoder: Encoder;
  private commands: Command[] = [];
  /** Lists waiting for pipelines; null when submission is immediate. */
  private queue: Promise<void> | null = null;
  private failure: DeitError | null = null;

  constructor(
    private readonly context: GpuContext,
    budget: number,
    /** No reuse, poisoned buffers, every dispatch checked by itself. */
    private readonly debug: boolean,
  ) {
    this.pipelines = new PipelineCache(context);
    this.pool = new BufferPool(context.device, budget);
    this.encoder = new Encoder(context.device, debug, (error) => this.fail(error));
  }

  get pending(): number {
    return this.commands.length;
  }

  get statistics(): { dispatches: number; submits: number } {
    return this.encoder.statistics;
  }

  record(command: Command): void {
    this.commands.push(command);
  }

  /** Drops what was recorded since the last flush (a scope that threw); reads among it are rejected. */
  discard(reason: unknown): void {
    for (const command of this.commands) if (command.kind === 'read') command.reject(reason);
    this.commands = [];
  }

  /** Drops what was recorded since the last flush, compiles what it needs, and returns what went wrong with that. */
  async compile(): Promise<DeitError | null> {
    const pipelines = new Set(this.commands.flatMap((c) => (c.kind === 'dispatch' ? [c.pipeline] : [])));
    this.discard(new DeitError('bad-argument', 'Nothing can be read back from work that is not run.'));
    await Promise.all([...pipelines].map(({ ready }) => ready));
    return [...pipelines].find(({ error }) => error !== null)?.error ?? null;
  }

  /**
   * Throws the first error that came up since, if there was one. After a rejected or lost device nothing can be trusted
   * and every call throws; a list that found no memory simply did not run, which is said once.
   */
  throwIfFailed(): void {
    const { failure } = this;
    if (!failure) return;
    if (failure.code === 'out-of-memory') this.failure = null;
    throw failure;
  }

  fail(error: DeitError): void {
    this.failure ??= error;
  }

  /** Hands the recorded list to the GPU, at once if its pipelines are compiled. `onSubmitted` sees the encoded list. */
  flush(onSubmitted?: (batch: SubmittedBatch) => void): void {
    if (this.commands.length === 0) return;
    const commands = this.commands;
    this.commands = [];
    const compiling = new Set<PipelineEntry>();
    for (const c of commands) if (c.kind === 'dispatch' && !c.pipeline.pipeline) compiling.add(c.pipeline);
    this.inOrder([...compiling], () => this.submit(commands, onSubmitted));
  }

  /** Submits again what was submitted before, with the very same buffers. `batch` is asked for when its turn has come. */
  replay(batch: () => SubmittedBatch): void {
    this.inOrder([], () => {
      this.encoder.submit(batch().encoded);
      this.pool.endBatch();
    });
  }

  private inOrder(compiling: readonly PipelineEntry[], submit: () => void): void {
    if (!this.queue && compiling.length === 0) {
      submit();
      return;
    }
    const mine: Promise<void> = (this.queue ?? Promise.resolve())
      .then(() => Promise.all(compiling.map((entry) => entry.ready)))
      .then(() => {
        try {
          submit();
        } catch (error) {
          this.fail(asError(error));
        }
        if (this.queue === mine) this.queue = null;
      });
    this.queue = mine;
  }

  /** Resolves once every flushed list has been handed to the GPU's queue. */
  async submitted(): Promise<void> {
    while (this.queue) await this.queue;
    this.throwIfFailed();
  }

  private submit(commands: Command[], onSubmitted?: (batch: SubmittedBatch) => void): void {
    try {
      this.throwIfFailed();
      for (const c of commands) if (c.kind === 'dispatch' && c.pipeline.error) throw c.pipeline.error;
      // A recording holds on to its buffers: what else lies idle makes room for them.
      if (onSubmitted) this.pool.trim(-1);
      const { physical, slots, kept, lifetimes } = this.place(commands);
      try {
        const encoded = this.encoder.encode(commands, physical);
        this.encoder.submit(encoded);
        onSubmitted?.({ encoded, slots, kept, lifetimes });
      } finally {
        // The queue runs lists in order, so the next list may reuse these at once.
        for (const slot of slots) this.giveBack(slot);
        for (const command of commands) if (command.kind === 'free') this.pool.releaseKept(command.storage);
        this.pool.endBatch();
      }
    } catch (error) {
      for (const command of commands) if (command.kind === 'read') command.reject(error);
      throw error;
    }
  }

  /** Gives every storage of the list a buffer: kept ones their own, transient ones a slot shared by lifetime. */
  private place(commands: readonly Command[]) {
    const lifetimes = new Map<Storage, { bytes: number; first: number; last: number; where: string }>();
    const kept = new Map<Storage, PhysicalBuffer>();
    commands.forEach((command, index) => {
      for (const { storage } of regionsOf(command)) {
        if (storage.kept) {
          if (!storage.physical) this.pool.acquireKept(storage);
          kept.set(storage, storage.physical!);
          continue;
        }
        const lifetime = lifetimes.get(storage);
        if (lifetime) lifetime.last = index;
        else {
          // Host data is written before the list starts, so its storage is taken from the beginning.
          const first = command.kind === 'write' ? 0 : index;
          const where = command.kind === 'dispatch' ? command.where : 'a tensor made from host data';
          lifetimes.set(storage, { bytes: storage.bytes, first, last: index, where });
        }
      }
    });
    const ordered: Lifetime[] = [...lifetimes.values()];
    const plan = this.debug ? separately(ordered) : planMemory(ordered);
    const slots: PhysicalBuffer[] = [];
    const firstUser = plan.slotBytes.map((_, slot) => [...lifetimes.values()][plan.slots.indexOf(slot)].where);
    try {
      plan.slotBytes.forEach((bytes, slot) => {
        const user = firstUser[slot];
        slots.push(this.debug ? this.pool.acquirePoisoned(bytes, user) : this.pool.acquire(bytes, user));
      });
    } catch (error) {
      for (const slot of slots) this.giveBack(slot);
      throw error;
    }
    const physical = new Map<Storage, PhysicalBuffer>(kept);
    [...lifetimes.keys()].forEach((storage, i) => physical.set(storage, slots[plan.slots[i]]));
    return { physical, slots, kept, lifetimes: ordered };
  }

  private giveBack(slot: PhysicalBuffer): void {
    if (!this.debug) this.pool.release(slot);
    // A recording was just made of them: they are its own from now on.
    else if (slot.pins === 0) this.pool.discard(slot);
  }

  destroy(): void {
    this.pipelines.close();
    this.context.device.destroy();
  }
}

export function regionsOf(command: Command): readonly Region[] {
  switch (command.kind) {
    case 'dispatch':
      return command.regions;
    case 'copy':
      return [command.from, command.to];
    case 'write':
      return [command.to];
    case 'read':
      return [command.from];
    case 'download':
      return command.from;
    case 'upload':
      return command.to;
    case 'free':
      return [];
  }
}

/** No two lifetimes share memory. */
const separately = (lifetimes: readonly Lifetime[]): MemoryPlan => ({
  slots: lifetimes.map((_, i) => i),
  slotBytes: lifetimes.map(({ bytes }) => bytes),
});

const asError = (error: unknown): DeitError =>
  error instanceof DeitError
    ? error
    : new DeitError('gpu-validation', 'The GPU rejected a command list.', { found: String(error), cause: error });
