import { DeitError } from '../../kernels/lib/errors.ts';
import { writtenBy } from './commands.ts';
import type { Command } from './commands.ts';
import { Encoder } from './encoder.ts';
import type { EncodedBatch, PendingRead } from './encoder.ts';
import type { GpuContext } from './context.ts';
import { Failures } from './failures.ts';
import type { PipelineEntry } from './pipeline-builder.ts';
import { PipelineCache } from './pipelines.ts';
import { giveBack, place } from './placement.ts';
import type { Placement } from './placement.ts';
import { BufferPool } from './buffer-pool.ts';
import type { Reader } from './reader.ts';
import type { Storage } from './storage.ts';

/** A list that has been handed over: its commands and its memory; encoded once its turn has come. */
export interface Batch extends Placement {
  readonly commands: readonly Command[];
  encoded: EncodedBatch | null;
}

export interface FlushOptions {
  /** Whether the commands run wholly or not at all: those of a scope do, calls outside of any stand for themselves. */
  readonly together: boolean;
  /** Is told of the list as soon as it has its memory, to keep it for a replay. */
  readonly adopt?: (batch: Batch) => void;
}

/**
 * Work is recorded first and handed over as a list: memory for transient tensors is then planned over the whole list,
 * by lifetime, and a step is one submit. Lists have their memory from the moment they are handed over, so that a lack of it
 * is told to whoever does that; they reach the GPU in that order, and one whose pipelines are still compiling holds up those
 * behind it, not the caller.
 */
export class Recorder {
  readonly pipelines: PipelineCache;
  readonly pool: BufferPool;
  readonly encoder: Encoder;
  readonly failures = new Failures();
  private commands: Command[] = [];
  private postponed: { decide(): void } | null = null;
  /** Lists waiting for pipelines; null when submission is immediate. */
  private queue: Promise<void> | null = null;
  /** After this nothing can be trusted: the device is lost or closed, or did something that nobody asked for. */
  private end: DeitError | null = null;
  private isClosed = false;
  /** Resolves when the GPU has validated all lists so far. */
  private validated: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly context: GpuContext,
    budget: number,
    /** No reuse, poisoned buffers, every dispatch checked by itself. */
    private readonly debug: boolean,
    /** What made reading back fail, in words of ours. */
    private readonly explain: (cause: unknown) => Promise<DeitError>,
  ) {
    this.pipelines = new PipelineCache(context);
    this.pool = new BufferPool(context.device, budget, (destroy) => this.inOrder([], destroy));
    this.encoder = new Encoder(context.device, debug);
  }

  /** Commands recorded since the last flush. */
  get pending(): number {
    return this.commands.length;
  }

  get statistics(): { dispatches: number; submits: number } {
    return this.encoder.statistics;
  }

  /** Has `result` computed before anything else is recorded, unless it has been by then. */
  postpone(result: { decide(): void }): void {
    this.catchUp();
    this.postponed = result;
  }

  /** Records what was postponed. */
  catchUp(): void {
    const { postponed } = this;
    this.postponed = null;
    postponed?.decide();
  }

  record(command: Command): void {
    this.catchUp();
    for (const { storage } of writtenBy(command)) storage.version++;
    this.commands.push(command);
  }

  /** Undoes what was recorded since `pending` was `mark`; reads among it are abandoned for `reason`. */
  discard(reason: unknown, mark = 0): void {
    this.postponed = null;
    undo(this.commands.splice(mark), reason);
  }

  /** Drops what was recorded since the last flush, compiles what it needs, and returns what went wrong with that. */
  async compile(): Promise<DeitError | null> {
    this.catchUp();
    const pipelines = new Set(this.commands.flatMap((c) => (c.kind === 'dispatch' ? [c.pipeline] : [])));
    this.discard(new DeitError('bad-argument', 'Nothing can be read back from work that is not run.'));
    await Promise.all([...pipelines].map(({ ready }) => ready));
    return [...pipelines].find(({ error }) => error !== null)?.error ?? null;
  }

  /** Throws once nothing can be trusted any more, always the same. */
  throwIfEnded(): void {
    if (this.end) throw this.end;
  }

  /** See `throwIfEnded`. */
  fail(error: DeitError): void {
    this.end ??= error;
  }

  /**
   * Hands the recorded list over to the GPU; it goes there at once if its pipelines are compiled. Throws `out-of-memory` or
   * `limit-exceeded` where there is no room for it: then nothing of it runs.
   */
  flush({ together, adopt }: FlushOptions): void {
    this.catchUp();
    const commands = this.commands;
    this.commands = [];
    if (commands.length === 0 && !adopt) return;
    // A recording holds on to its buffers: what else lies idle makes room for them.
    if (adopt) this.pool.trim(-1);
    let placement: Placement;
    try {
      placement = place(commands, this.pool, this.debug);
    } catch (error) {
      undo(commands, error);
      throw error;
    }
    const batch: Batch = { ...placement, commands, encoded: null };
    adopt?.(batch);
    const compiling = new Set<PipelineEntry>();
    for (const c of commands) if (c.kind === 'dispatch' && !c.pipeline.pipeline) compiling.add(c.pipeline);
    this.inOrder([...compiling], () => this.run(batch, together));
    // The queue runs lists in order, so the next list may have these.
    for (const slot of batch.slots) giveBack(slot, this.pool, this.debug);
    for (const command of commands) if (command.kind === 'free') this.pool.releaseKept(command.storage);
    this.pool.endBatch();
  }

  /** Runs again what was handed over before, with the very same buffers. */
  replay(batch: Batch): void {
    this.inOrder([], () => this.run(batch, true));
    this.pool.endBatch();
  }

  private inOrder(compiling: readonly PipelineEntry[], work: () => void): void {
    if (!this.queue && compiling.length === 0) {
      work();
      return;
    }
    const mine: Promise<void> = (this.queue ?? Promise.resolve())
      .then(() => Promise.all(compiling.map((entry) => entry.ready)))
      .then(() => {
        work();
        if (this.queue === mine) this.queue = null;
      });
    this.queue = mine;
  }

  /** Resolves once every list so far has been handed to the GPU's queue and validated by it. */
  async submitted(): Promise<void> {
    while (this.queue) await this.queue;
    await this.validated;
  }

  /** Never throws: what goes wrong here is told to whoever reads what comes of it. */
  private run(batch: Batch, together: boolean): void {
    if (this.end) {
      for (const command of batch.commands) {
        if (command.kind === 'read') this.refuseRead(command.reader, this.end);
        if (command.kind === 'download') command.to.fail(this.end);
      }
      return;
    }
    const commands = this.failures.sift(batch.commands, together);
    if (commands.length === 0) return;
    this.context.trace?.(commands);
    let reads: readonly PendingRead[] = [];
    const work = (): void => {
      batch.encoded ??= this.encoder.encode(commands, batch.physical);
      reads = this.encoder.submit(batch.encoded);
    };
    // The GPU would say the same of a replay, and the two error scopes take a third of the time of a short submission.
    const isValidated = this.debug || (!batch.encoded && commands.some(({ kind }) => kind !== 'read'));
    let outcome: Promise<DeitError | null> | null = null;
    try {
      if (isValidated) outcome = this.encoder.validate(commands, work);
      else work();
    } catch (cause) {
      this.failures.refuse(commands, rejected(cause));
      return;
    }
    const fresh = markWritten(commands);
    const isTold = reads.some(({ reader }) => !reader.isOwn);
    if (outcome) this.hear(outcome, batch, fresh, isTold);
    this.settle(reads, outcome);
  }

  /** Takes note of what the GPU says of a list, once it does. */
  private hear(outcome: Promise<DeitError | null>, batch: Batch, fresh: readonly Storage[], isTold: boolean): void {
    const made = this.pool.takeMade();
    const heard = outcome.then((error) => {
      if (!error) return;
      // Buffers that could not be made are made anew for the next list, and so are the bind groups that have them.
      if (error.code === 'out-of-memory') for (const physical of made) this.pool.renew(physical);
      batch.encoded = null;
      this.failures.spoil(fresh, error, isTold);
    });
    this.validated = Promise.all([this.validated, heard]).then(() => undefined);
  }

  private settle(reads: readonly PendingRead[], outcome: Promise<DeitError | null> | null): void {
    const { validated } = this;
    // An error that has no other place is told to all reads of a list, or to none.
    let claimed: DeitError | null | undefined;
    for (const { reader, content } of reads) {
      Promise.all([content, outcome, validated])
        .then(([bytes, error]) => {
          if (!reader.isOwn) claimed ??= error ?? this.failures.claimUnplaced();
          if (claimed) reader.reject(claimed);
          else reader.resolve(bytes);
        })
        .catch(async (cause: unknown) => this.refuseRead(reader, this.end ?? (await this.explain(cause))));
    }
  }

  /** Whoever closed the engine need not listen to its reads. */
  private refuseRead(reader: Reader, error: DeitError): void {
    reader.reject(error, this.isClosed);
  }

  /** Reads under way are rejected with `reason`, and nothing can be done any more. */
  close(reason: DeitError): void {
    this.isClosed = true;
    this.end = reason;
    this.discard(reason);
    this.pipelines.close();
    this.context.device.destroy();
  }
}

/** Takes back what recording the commands did to the tensors. */
function undo(commands: readonly Command[], reason: unknown): void {
  for (const command of commands) {
    for (const { storage } of writtenBy(command)) storage.version--;
    if (command.kind === 'read') command.reader.abandon(reason);
    if (command.kind === 'free') command.storage.expired = null;
  }
}

/** Those that no list has written to before. */
function markWritten(commands: readonly Command[]): Storage[] {
  const fresh: Storage[] = [];
  for (const command of commands) {
    for (const { storage } of writtenBy(command)) {
      if (storage.written) continue;
      storage.written = true;
      fresh.push(storage);
    }
  }
  return fresh;
}

const rejected = (cause: unknown): DeitError =>
  cause instanceof DeitError
    ? cause
    : new DeitError('gpu-validation', 'The GPU rejected a command list.', { found: String(cause), cause });
