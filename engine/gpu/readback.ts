import { BufferUsage, MapMode } from './constants.ts';

interface Staging {
  readonly size: number;
  readonly buffer: GPUBuffer;
}

/** Mappable buffers for reading back, by power-of-two size, reused once unmapped. */
export class ReadbackPool {
  private readonly device: GPUDevice;
  private readonly free = new Map<number, Staging[]>();

  constructor(device: GPUDevice) {
    this.device = device;
  }

  acquire(bytes: number): Staging {
    const size = 2 ** Math.ceil(Math.log2(Math.max(256, bytes)));
    const found = this.free.get(size)?.pop();
    if (found) return found;
    const usage = BufferUsage.MAP_READ | BufferUsage.COPY_DST;
    return { size, buffer: this.device.createBuffer({ size, usage, label: 'readback' }) };
  }

  /** Waits for the copy into `staging`, returns its first `bytes` bytes and takes the buffer back. */
  async collect(staging: Staging, bytes: number): Promise<ArrayBuffer> {
    await staging.buffer.mapAsync(MapMode.READ, 0, Math.ceil(bytes / 4) * 4);
    const content = staging.buffer.getMappedRange(0, Math.ceil(bytes / 4) * 4).slice(0, bytes);
    staging.buffer.unmap();
    // Large ones are rare (checkpoints): keep only what a training loop reads again and again.
    if (staging.size > 2 ** 22) staging.buffer.destroy();
    else this.free.set(staging.size, [...(this.free.get(staging.size) ?? []), staging]);
    return content;
  }
}

export type { Staging };
