/** A buffer of the GPU and the number of recordings that refer to it (those keep it from being destroyed). */
export interface PhysicalBuffer {
  readonly id: number;
  readonly bytes: number;
  readonly buffer: GPUBuffer;
  pins: number;
  /** Count of submitted batches when it was last used; the pool lets go of what has been idle for long. */
  lastUsed: number;
}

let nextId = 1;

/**
 * The memory of one or more tensors. A scoped storage gets its physical buffer only while its command list is
 * submitted, shared by lifetime with others; a kept storage owns its buffer from first use until it is freed.
 */
export class Storage {
  readonly id = nextId++;
  physical: PhysicalBuffer | null = null;
  /** Its scope has ended, or it was freed: no new work may refer to it. */
  expired = false;
  /** Counts in-place writes, so that the tape notices when something saved for backward was changed. */
  version = 0;

  constructor(
    readonly bytes: number,
    public label: string,
    /** Outlives its scope, until freed. */
    public kept: boolean,
  ) {}
}
