import type { DeitError } from '../../kernels/lib/errors.ts';

/** Why work did not run, and whether anybody has been told. */
export interface Failure {
  readonly error: DeitError;
  told: boolean;
}

/** A buffer of the GPU. It is accounted for once it is planned, and made when the first list that uses it is encoded. */
export class PhysicalBuffer {
  /** Recordings that refer to it; those keep it from being destroyed. */
  pins = 0;
  private made: GPUBuffer | null = null;

  constructor(
    /** Another one whenever the buffer is made anew: bind groups are known by it. */
    public id: number,
    readonly bytes: number,
    /** Count of flushed lists when it was last used; the pool lets go of what has been idle for long. */
    public lastUsed: number,
    private readonly make: (buffer: PhysicalBuffer) => GPUBuffer,
  ) {}

  get buffer(): GPUBuffer {
    return (this.made ??= this.make(this));
  }

  destroy(): void {
    this.made?.destroy();
    this.made = null;
  }
}

/** What a kept storage owns: an object of its own, so that it can be given back once the storage is garbage. */
export interface Memory {
  physical: PhysicalBuffer | null;
  label: string;
}

let nextId = 1;

/**
 * The memory of one or more tensors. A scoped storage gets its physical buffer only while its command list runs, shared
 * by lifetime with others; a kept storage owns its buffer until it is freed, or garbage.
 */
export class Storage {
  readonly id = nextId++;
  readonly memory: Memory;
  /** Why no new work may refer to it, if so: its scope has ended or thrown, or it was freed. */
  expired: 'ended' | 'failed' | 'freed' | null = null;
  /** Counts in-place writes, so that the tape notices when something saved for backward was changed. */
  version = 0;
  /** Why the work that was to write to it did not run, if that is so. */
  failure: Failure | null = null;
  /** Whether a list that has it has run. */
  written = false;

  constructor(
    readonly bytes: number,
    label: string,
    /** Outlives its scope, until freed. */
    public kept: boolean,
  ) {
    this.memory = { physical: null, label };
  }

  get physical(): PhysicalBuffer | null {
    return this.memory.physical;
  }

  get label(): string {
    return this.memory.label;
  }
}
