import { DeitError } from '../../kernels/lib/errors.ts';
import { peakLiveBytes } from './memory-plan.ts';
import type { Batch, Recorder } from './recorder.ts';

/**
 * A command list that can be run again: no operator is called, nothing is planned, looked up or allocated. It works on
 * the tensors that it was recorded with, so what changes from run to run must be written into kept tensors before.
 */
export class Recording {
  private batch: Batch | null = null;

  constructor(private readonly recorder: Recorder) {}

  /** Takes over a list: its buffers stay allocated until `release`. */
  adopt(batch: Batch): void {
    this.batch = batch;
    for (const physical of this.buffers(batch)) physical.pins++;
  }

  get dispatches(): number {
    return this.batch?.commands.filter((command) => command.kind === 'dispatch').length ?? 0;
  }

  /** Bytes that the transient tensors share, and the least that any plan could do with: the most alive at one command. */
  get transientMemory(): { plannedBytes: number; leastBytes: number } {
    const { slots, lifetimes } = this.batch ?? { slots: [], lifetimes: [] };
    return {
      plannedBytes: slots.reduce((sum, { bytes }) => sum + bytes, 0),
      leastBytes: peakLiveBytes(lifetimes),
    };
  }

  /** @internal See `Engine.replay`. */
  replay(recorder: Recorder): void {
    const { batch } = this;
    if (recorder !== this.recorder) {
      throw new DeitError('bad-argument', 'The recording belongs to another engine.', { where: 'replay' });
    }
    if (!batch) throw new DeitError('bad-argument', 'A recording was replayed after it was released.');
    for (const [storage, physical] of batch.kept) {
      if (storage.physical === physical) continue;
      throw new DeitError('tensor-expired', 'A tensor that a recording works on has been freed or moved.', {
        where: storage.label,
        fix: 'record the step again',
      });
    }
    recorder.replay(batch);
  }

  release(): void {
    if (this.batch) for (const physical of this.buffers(this.batch)) physical.pins--;
    this.batch = null;
  }

  private buffers(batch: Batch) {
    return new Set([...batch.slots, ...batch.kept.values()]);
  }
}
