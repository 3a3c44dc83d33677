import type { DeitError } from '../../kernels/lib/errors.ts';
import { paddedBytes } from '../dtype.ts';
import { regionsOf, writtenBy } from './commands.ts';
import type { Command, Region } from './commands.ts';
import type { Failure, Storage } from './storage.ts';

/**
 * What goes wrong after the call that recorded it has returned: a kernel that does not compile, a list that the GPU refuses.
 * It is told once, to whoever reads what comes of it, or to `idle`; what does not depend on it runs. Work that was handed over
 * together, as a scope, runs wholly or not at all.
 */
export class Failures {
  private readonly untold = new Set<Failure>();
  /** Of these it is not known what depends on them. */
  private readonly unplaced = new Set<Failure>();
  /** Whether there has been one at all: else nothing needs to be looked through. */
  private some = false;

  /** For errors of which it is not known what depends on them: told to the next read, or to `idle`. */
  note(error: DeitError): void {
    this.unplaced.add(this.failureOf(error));
  }

  /** The error that the next read is told. */
  claimUnplaced(): DeitError | null {
    const [failure] = this.unplaced;
    return failure ? this.tell(failure) : null;
  }

  /** The error that `idle` tells. */
  claim(): DeitError | null {
    const [failure] = this.untold;
    return failure ? this.tell(failure) : null;
  }

  /** Of the commands those that can run. The reads among the others are rejected, and what they were to write is marked. */
  sift(commands: readonly Command[], together: boolean): readonly Command[] {
    const isCompiled = (command: Command): boolean => command.kind !== 'dispatch' || !command.pipeline.error;
    if (!this.some && commands.every(isCompiled)) return commands;
    const groups = together ? [commands] : commands.map((command) => [command]);
    return groups.flatMap((group) => {
      const failure = this.causeOf(group);
      if (!failure) return group;
      this.refuse(group, failure.error);
      return [];
    });
  }

  /** What becomes of commands that are not run because of `error`. */
  refuse(commands: readonly Command[], error: DeitError): void {
    const failure = this.failureOf(error);
    for (const command of commands) {
      for (const { storage } of writtenBy(command)) storage.failure = failure;
      if (command.kind === 'read') {
        command.reader.reject(error);
        if (!command.reader.isOwn) this.tell(failure);
      }
      if (command.kind === 'download') {
        command.to.fail(error);
        this.tell(failure);
      }
    }
  }

  /** What becomes of storages that a list was the first to write to, which the GPU then refused. */
  spoil(fresh: readonly Storage[], error: DeitError, isTold: boolean): void {
    const failure = this.failureOf(error);
    for (const storage of fresh) {
      storage.failure = failure;
      storage.written = false;
    }
    if (isTold) this.tell(failure);
    else this.unplaced.add(failure);
  }

  private tell(failure: Failure): DeitError {
    failure.told = true;
    this.untold.delete(failure);
    this.unplaced.delete(failure);
    return failure.error;
  }

  private failureOf(error: DeitError): Failure {
    this.some = true;
    const known = [...this.untold].find((failure) => failure.error === error);
    if (known) return known;
    const failure = { error, told: false };
    this.untold.add(failure);
    return failure;
  }

  /** Why the commands cannot run, or null; marks that no longer hold are taken away. */
  private causeOf(commands: readonly Command[]): Failure | null {
    const renewed = new Set<Storage>();
    for (const command of commands) {
      if (command.kind === 'dispatch' && command.pipeline.error) return this.failureOf(command.pipeline.error);
      const written = writtenBy(command);
      for (const region of regionsOf(command)) {
        const { storage } = region;
        if (!storage.failure || renewed.has(storage)) continue;
        // What was there before is still there; but what nothing has written has no value, nor has a sum with it.
        const isSound = storage.failure.told && storage.written;
        if (!isSound && !(written.includes(region) && isReplaced(command, region))) return storage.failure;
        renewed.add(storage);
      }
    }
    for (const storage of renewed) storage.failure = null;
    return null;
  }
}

/** Whether the command writes all of the storage, whatever was in it. */
const isReplaced = ({ kind }: Command, { storage, offset, size }: Region): boolean =>
  kind !== 'dispatch' && offset === 0 && paddedBytes(size) >= storage.bytes;
