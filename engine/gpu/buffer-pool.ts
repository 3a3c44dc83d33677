import { DeitError } from '../../kernels/lib/errors.ts';
import { BufferUsage } from './constants.ts';
import { PhysicalBuffer } from './storage.ts';
import type { Memory, Storage } from './storage.ts';

/** Bytes of GPU memory as the engine accounts for them. */
export interface MemoryReport {
  /** Held by kept tensors, by label. */
  readonly kept: Readonly<Record<string, number>>;
  readonly keptBytes: number;
  /** Allocated and at hand for the next command list. */
  readonly pooledBytes: number;
  /** Everything allocated now: kept, pooled and in use. */
  readonly totalBytes: number;
  /** The most that `totalBytes` has been since the last `resetPeak`. */
  readonly peakBytes: number;
  readonly buffers: number;
}

export const formatBytes = (bytes: number): string =>
  bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(2)} GiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Batches after which an idle buffer is destroyed. */
const IDLE_BATCHES = 64;
/** A free buffer may serve a request down to this share of its size; below it, a fitting one is made. */
const LEAST_FILL = 0.75;
const SMALL = 64 * 1024;

/** Hands out whole GPU buffers, best fit first, and accounts for every byte by label. */
export class BufferPool {
  /** Free buffers, ascending by size. */
  private free: PhysicalBuffer[] = [];
  private readonly keptByLabel = new Map<string, number>();
  private total = 0;
  private peak = 0;
  private buffers = 0;
  private nextId = 1;
  private batch = 0;
  /** Buffers that the device has made since `takeMade` last asked. */
  private made: PhysicalBuffer[] = [];
  private readonly abandoned = new FinalizationRegistry<Memory>((memory) => this.releaseMemory(memory));

  constructor(
    private readonly device: GPUDevice,
    private readonly budget: number,
    /** Runs what it is given when all lists so far have been submitted: they may use what is to be destroyed. */
    private readonly afterwards: (destroy: () => void) => void,
  ) {}

  /** A buffer of at least `bytes` bytes. `purpose` names the operator and shapes for the error if there is no room. */
  acquire(bytes: number, purpose: string): PhysicalBuffer {
    return this.take(bytes, purpose, () => true);
  }

  private take(bytes: number, purpose: string, mayServe: (physical: PhysicalBuffer) => boolean): PhysicalBuffer {
    const size = Math.max(256, Math.ceil(bytes / 256) * 256);
    let index = lowerBound(this.free, size);
    while (index < this.free.length && !mayServe(this.free[index])) index++;
    const candidate = this.free[index];
    if (candidate && (candidate.bytes * LEAST_FILL <= size || candidate.bytes <= SMALL)) {
      this.free.splice(index, 1);
      return candidate;
    }
    return this.create(size, purpose);
  }

  release(physical: PhysicalBuffer): void {
    physical.lastUsed = this.batch;
    let index = lowerBound(this.free, physical.bytes);
    // Equal sizes in order of age: a step that repeats is handed the same buffers, and finds its bind groups cached.
    while (this.free[index]?.bytes === physical.bytes && this.free[index].id < physical.id) index++;
    this.free.splice(index, 0, physical);
  }

  /** Gives a kept storage its buffer, until it is released or the storage is garbage. */
  acquireKept(storage: Storage): void {
    const { memory } = storage;
    const purpose = `${memory.label} of ${storage.bytes} bytes`;
    // What a recording works in is free between its runs, but a replay writes to it.
    memory.physical = this.take(storage.bytes, purpose, ({ pins }) => pins === 0);
    this.count(memory.label, memory.physical.bytes);
    this.abandoned.register(storage, memory, memory);
  }

  releaseKept({ memory }: Storage): void {
    this.abandoned.unregister(memory);
    this.releaseMemory(memory);
  }

  private releaseMemory(memory: Memory): void {
    if (!memory.physical) return;
    this.count(memory.label, -memory.physical.bytes);
    this.release(memory.physical);
    memory.physical = null;
  }

  /** Accounts for a kept storage under another label. */
  relabel({ memory }: Storage, label: string): void {
    const bytes = memory.physical?.bytes ?? 0;
    this.count(memory.label, -bytes);
    memory.label = label;
    this.count(label, bytes);
  }

  /** Accounts for `bytes` bytes that are allocated elsewhere, like a kept tensor's, or given back there if negative. */
  account(label: string, bytes: number): void {
    if (this.total + bytes > this.budget) this.trim(-1);
    if (bytes > 0 && this.total + bytes > this.budget) throw this.outOfMemory(bytes, label);
    this.count(label, bytes);
    this.total += bytes;
    this.peak = Math.max(this.peak, this.total);
  }

  private count(label: string, bytes: number): void {
    this.keptByLabel.set(label, (this.keptByLabel.get(label) ?? 0) + bytes);
  }

  /** Called once a list: lets go of buffers that nothing has wanted for a while. */
  endBatch(): void {
    this.batch++;
    if (this.batch % 16 === 0) this.trim(IDLE_BATCHES);
  }

  /** Destroys free buffers that have been idle for more than `batches` batches and that no recording refers to. */
  trim(batches: number): number {
    let freed = 0;
    this.free = this.free.filter((physical) => {
      if (physical.pins > 0 || this.batch - physical.lastUsed <= batches) return true;
      this.destroy(physical);
      freed += physical.bytes;
      return false;
    });
    return freed;
  }

  report(): MemoryReport {
    const kept = Object.fromEntries([...this.keptByLabel].filter(([, bytes]) => bytes > 0));
    return {
      kept,
      keptBytes: Object.values(kept).reduce((sum, bytes) => sum + bytes, 0),
      pooledBytes: this.free.reduce((sum, physical) => sum + physical.bytes, 0),
      totalBytes: this.total,
      peakBytes: this.peak,
      buffers: this.buffers,
    };
  }

  resetPeak(): void {
    this.peak = this.total;
  }

  /** A new buffer full of NaNs (debug mode): whoever reads it before writing it, or after it was freed, sees them. */
  acquirePoisoned(bytes: number, purpose: string): PhysicalBuffer {
    return this.create(Math.max(256, Math.ceil(bytes / 256) * 256), purpose, true);
  }

  /** Buffers that the device has made since this was last asked. */
  takeMade(): PhysicalBuffer[] {
    const { made } = this;
    this.made = [];
    return made;
  }

  /** Has a buffer that the device could not make, for lack of memory, made anew when it is next used. */
  renew(physical: PhysicalBuffer): void {
    physical.destroy();
    physical.id = this.nextId++;
  }

  /** Gives back a buffer that nothing may reuse (debug mode). */
  discard(physical: PhysicalBuffer): void {
    if (physical.pins === 0) this.destroy(physical);
  }

  private create(size: number, purpose: string, isPoisoned = false): PhysicalBuffer {
    if (size > this.device.limits.maxBufferSize) {
      throw new DeitError('limit-exceeded', 'A tensor is larger than the largest buffer of this device.', {
        where: purpose,
        expected: `at most ${formatBytes(this.device.limits.maxBufferSize)}`,
        found: formatBytes(size),
        fix: 'use a smaller batch with gradient accumulation',
      });
    }
    if (this.total + size > this.budget) this.trim(-1);
    if (this.total + size > this.budget) throw this.outOfMemory(size, purpose);
    this.total += size;
    this.buffers++;
    this.peak = Math.max(this.peak, this.total);
    return new PhysicalBuffer(this.nextId++, size, this.batch, (physical) => this.make(physical, isPoisoned));
  }

  private make(physical: PhysicalBuffer, isPoisoned: boolean): GPUBuffer {
    const size = physical.bytes;
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST;
    const buffer = this.device.createBuffer({ size, usage });
    if (isPoisoned) this.device.queue.writeBuffer(buffer, 0, new Uint8Array(size).fill(0xff));
    this.made.push(physical);
    return buffer;
  }

  private destroy(physical: PhysicalBuffer): void {
    this.total -= physical.bytes;
    this.buffers--;
    this.afterwards(() => physical.destroy());
  }

  private outOfMemory(size: number, purpose: string): DeitError {
    const { kept, totalBytes } = this.report();
    const account = Object.entries(kept).map(([label, bytes]) => `${label} ${formatBytes(bytes)}`);
    return new DeitError('out-of-memory', 'The memory budget of the engine is used up.', {
      where: purpose,
      expected: `at most ${formatBytes(this.budget)} in all`,
      found: `${formatBytes(totalBytes)} in use (kept: ${account.join(', ') || 'nothing'}), ${formatBytes(size)} more wanted`,
      fix: 'use a smaller batch (with gradient accumulation), or raise the budget with --memory',
    });
  }
}

function lowerBound(sorted: readonly PhysicalBuffer[], bytes: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle].bytes < bytes) low = middle + 1;
    else high = middle;
  }
  return low;
}
