import { DeitError } from '../kernels/lib/errors.ts';
import type { Recorder } from './gpu/recorder.ts';
import { Recording } from './gpu/recording.ts';
import { Storage } from './gpu/storage.ts';
import type { OutputChecks } from './output-checks.ts';
import { ScopeStack, expectSynchronous } from './scopes.ts';

/** Work outside any scope is handed to the GPU when this much has piled up. */
const MAX_PENDING = 1024;

/**
 * What has been recorded and not yet handed over, and the scopes under way: `Engine.scope` and its kin. A scope is a
 * transaction: if it throws, nothing that it recorded runs, and what it changed on the host is changed back.
 */
export class Work {
  /** In debug mode. */
  checks: OutputChecks | null = null;
  private readonly scopes = new ScopeStack();
  /** Whether a step is being recorded for replay. */
  private recording = false;
  private closed = false;

  constructor(private readonly recorder: Recorder) {}

  get isRecording(): boolean {
    return this.recording;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  get isInScope(): boolean {
    return this.scopes.depth > 0;
  }

  throwIfClosed(): void {
    if (this.closed) {
      throw new DeitError('engine-closed', 'The engine is closed.', { fix: 'open another with createEngine()' });
    }
    this.recorder.throwIfEnded();
  }

  scope<Result>(work: () => Result): Result {
    expectSynchronous(work, 'scope');
    this.throwIfClosed();
    if (this.isInScope) return this.inScope(work, () => undefined);
    this.submit();
    return this.inScope(work, () => this.submit());
  }

  record(work: () => void): Recording {
    this.expectNoScope('record', work);
    this.submit();
    const recording = new Recording(this.recorder);
    this.recording = true;
    try {
      this.inScope(
        () => (this.checks ? this.checks.without(work) : work()),
        () => this.recorder.flush({ together: true, adopt: (batch) => recording.adopt(batch) }),
      );
    } finally {
      this.recording = false;
    }
    return recording;
  }

  replay(recording: Recording): void {
    this.expectNoScope('replay');
    this.submit();
    recording.replay(this.recorder);
  }

  compile(work: () => void): Promise<DeitError | null> {
    this.expectNoScope('compile', work);
    this.submit();
    this.scopes.begin();
    try {
      work();
      return this.recorder.compile();
    } catch (error) {
      this.recorder.discard(error);
      throw error;
    } finally {
      this.scopes.fail();
    }
  }

  private expectNoScope(what: string, work?: () => unknown): void {
    expectSynchronous(work, what);
    this.throwIfClosed();
    if (!this.isInScope) return;
    throw new DeitError('bad-argument', `${what}() is called outside of any scope.`, { where: what });
  }

  /** Runs `work` as a scope. If it throws, or `handOver` does, nothing that it recorded runs, and nothing is as it left it. */
  private inScope<Result>(work: () => Result, handOver: () => void): Result {
    this.recorder.catchUp();
    const mark = this.recorder.pending;
    this.scopes.begin();
    try {
      const result = work();
      this.recorder.catchUp();
      this.throwIfClosed();
      handOver();
      this.scopes.end();
      return result;
    } catch (error) {
      this.recorder.discard(error, mark);
      this.scopes.fail();
      throw error;
    }
  }

  /** Runs a part of a scope, or of what is outside of any, that leaves nothing behind if it throws. */
  wholly<Result>(work: () => Result): Result {
    this.recorder.catchUp();
    const mark = this.recorder.pending;
    this.scopes.beginUndoable();
    try {
      const result = work();
      this.recorder.catchUp();
      this.scopes.endUndoable();
      return result;
    } catch (error) {
      this.recorder.discard(error, mark);
      this.scopes.undo();
      throw error;
    }
  }

  /** Memory of the scope under way, or kept. Outside of scopes it is taken at once, so that a lack of it is told here. */
  allocate(bytes: number, label: string, isKept: boolean): Storage {
    const storage = new Storage(bytes, label, isKept);
    if (this.isInScope) {
      this.scopes.own(storage);
      return storage;
    }
    try {
      this.recorder.pool.acquireKept(storage);
    } catch {
      // Perhaps something has been freed that has not been handed over yet.
      this.submit();
      this.recorder.pool.acquireKept(storage);
    }
    return storage;
  }

  keep(storage: Storage, label: string): void {
    storage.kept = true;
    this.recorder.pool.relabel(storage, label);
  }

  free(storage: Storage): void {
    if (!storage.kept || storage.expired || this.closed) return;
    this.recorder.record({ kind: 'free', storage });
    storage.expired = 'freed';
  }

  /** See `ScopeStack`. */
  forgetGradAtEnd(leaf: Parameters<ScopeStack['forgetGradAtEnd']>[0]): void {
    this.scopes.forgetGradAtEnd(leaf);
  }

  /** See `ScopeStack`. */
  undoIfFailed(takeBack: () => void): void {
    this.scopes.undoIfFailed(takeBack);
  }

  /** Hands what was recorded outside of scopes to the GPU, if that is much. */
  flushIfLong(): void {
    if (!this.scopes.isUndoable && this.recorder.pending >= MAX_PENDING) this.submit();
  }

  /** Hands what was recorded outside of scopes to the GPU. */
  flush(): void {
    if (!this.isInScope) this.submit();
  }

  close(): void {
    this.closed = true;
    this.recorder.close(new DeitError('engine-closed', 'The engine was closed before this was read.'));
  }

  private submit(): void {
    this.checks?.collect();
    this.recorder.flush({ together: this.isInScope });
  }
}
