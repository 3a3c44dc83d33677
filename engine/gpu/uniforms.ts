import { BufferUsage } from './constants.ts';

const SLOT = 256;
const SLOTS_PER_PAGE = 256;
const MAX_SLOTS = 64 * SLOTS_PER_PAGE;

export interface UniformSlot {
  readonly id: number;
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/**
 * Uniform blocks by content. The same words always live in the same slot, so a step that repeats writes no uniforms
 * and finds every bind group in the cache. A slot is never rewritten: when the table is full a new one is begun, and
 * bind groups that still refer to the old pages keep those alive.
 */
export class UniformTable {
  private readonly device: GPUDevice;
  private slots = new Map<string, UniformSlot>();
  private page: GPUBuffer | null = null;
  private used = 0;
  private nextId = 1;

  constructor(device: GPUDevice) {
    this.device = device;
  }

  get(words: Uint32Array): UniformSlot {
    const key = words.join();
    const found = this.slots.get(key);
    if (found) return found;
    if (this.slots.size >= MAX_SLOTS) this.slots = new Map();
    if (!this.page || this.used === SLOTS_PER_PAGE) {
      this.page = this.device.createBuffer({
        size: SLOT * SLOTS_PER_PAGE,
        usage: BufferUsage.UNIFORM | BufferUsage.COPY_DST,
        label: 'uniforms',
      });
      this.used = 0;
    }
    const slot = {
      id: this.nextId++,
      buffer: this.page,
      offset: SLOT * this.used++,
      // The whole slot: wgpu (Deno, Firefox) holds a binding to the struct of whichever pipeline of its layout came first.
      size: SLOT,
    };
    this.device.queue.writeBuffer(slot.buffer, slot.offset, words as Uint32Array<ArrayBuffer>);
    this.slots.set(key, slot);
    return slot;
  }
}
