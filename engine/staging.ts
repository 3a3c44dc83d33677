import { DeitError } from '../kernels/lib/errors.ts';
import type { BufferPool } from './gpu/buffer-pool.ts';
import { BufferUsage } from './gpu/constants.ts';
import type { Region } from './gpu/commands.ts';
import type { Recorder } from './gpu/recorder.ts';
import { Download, Upload } from './gpu/staging-buffers.ts';
import type { Receiver } from './gpu/staging-buffers.ts';
import type { Tensor } from './tensor.ts';

declare module './tensor.ts' {
  interface TensorEngine {
    /** What passes between host and GPU in the middle of recorded steps. */
    readonly staging: Staging;
  }
}

const LABEL = 'staging';

/**
 * What leaves and enters the GPU in the middle of recorded steps, as the gradients of data-parallel training do: through
 * memory that stays, where `Tensor.read` and `write` are for now and then.
 */
export class Staging {
  constructor(
    private readonly device: GPUDevice,
    private readonly pool: BufferPool,
    private readonly recorder: Recorder,
  ) {}

  /** Memory for `bytes` bytes on their way to `receiver`. Free it when the recordings that use it are released. */
  openDownload(bytes: number, receiver: Receiver): Download {
    return new Download(this.open(bytes, BufferUsage.MAP_READ | BufferUsage.COPY_DST), bytes, receiver);
  }

  /** Memory for `bytes` bytes on their way from the host. */
  openUpload(bytes: number): Upload {
    return new Upload(this.open(bytes, BufferUsage.MAP_WRITE | BufferUsage.COPY_SRC), bytes);
  }

  /** Records that the content of `tensors`, one after another, leaves as soon as the GPU has come to here. */
  download(to: Download, tensors: readonly Tensor[]): void {
    this.recorder.record({ kind: 'download', from: regionsOf(tensors, to.bytes), to });
  }

  /** Records that `tensors`, one after another, get what was last written to `from`. */
  upload(from: Upload, tensors: readonly Tensor[]): void {
    this.recorder.record({ kind: 'upload', from, to: regionsOf(tensors, from.bytes) });
  }

  free({ buffer, bytes }: Download | Upload): void {
    buffer.destroy();
    this.pool.account(LABEL, -bytes);
  }

  private open(size: number, usage: number): GPUBuffer {
    this.pool.account(LABEL, size);
    const mappedAtCreation = (usage & BufferUsage.MAP_WRITE) !== 0;
    return this.device.createBuffer({ size, usage, mappedAtCreation, label: LABEL });
  }
}

/** Where tensors lie, without their padding; together they take up `bytes` bytes. */
function regionsOf(tensors: readonly Tensor[], bytes: number): Region[] {
  const regions = tensors.map((tensor) => ({ ...tensor.region, size: Math.ceil(tensor.bytes / 4) * 4 }));
  const size = regions.reduce((sum, region) => sum + region.size, 0);
  if (size === bytes) return regions;
  throw new DeitError('shape-mismatch', 'The tensors do not fill the memory that they pass through.', {
    expected: `${bytes} bytes`,
    found: String(size),
  });
}
