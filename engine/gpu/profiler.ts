import { DeitError } from '../../kernels/lib/errors.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import type { GpuContext } from './context.ts';
import { BufferUsage, MapMode } from './constants.ts';

/** Time of one dispatch on the GPU. */
export interface DispatchTime {
  /** Kernel family and variant. */
  readonly kernel: string;
  /** Operator and shapes. */
  readonly where: string;
  /** Nanoseconds since the first dispatch of the profile, and duration. */
  readonly startNs: number;
  readonly durationNs: number;
  readonly flops: number;
  readonly bytes: number;
}

const QUERIES = 4096;

/** Gives each dispatch a compute pass of its own with timestamps around it. Needs the feature `timestamp-query`. */
export class Profiler {
  private readonly device: GPUDevice;
  private readonly times: Promise<DispatchTime[]>[] = [];
  private origin: bigint | null = null;
  private set: GPUQuerySet | null = null;
  private launches: { launch: Launch; where: string }[] = [];

  constructor(device: GPUDevice) {
    this.device = device;
  }

  /** Descriptor of the pass for the next dispatch, or null when this command buffer can take no more. */
  pass(launch: Launch, where: string): GPUComputePassDescriptor | null {
    if (this.launches.length * 2 >= QUERIES) return null;
    this.set ??= this.device.createQuerySet({ type: 'timestamp', count: QUERIES });
    const index = this.launches.length * 2;
    this.launches.push({ launch, where });
    return {
      timestampWrites: { querySet: this.set, beginningOfPassWriteIndex: index, endOfPassWriteIndex: index + 1 },
    };
  }

  /** Adds the resolving of the timestamps to the command buffer; call the result after submitting it. */
  resolve(encoder: GPUCommandEncoder): () => void {
    const { set, launches } = this;
    this.set = null;
    this.launches = [];
    if (!set) return () => undefined;
    const size = launches.length * 16;
    const resolved = this.device.createBuffer({ size, usage: BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC });
    const staging = this.device.createBuffer({ size, usage: BufferUsage.MAP_READ | BufferUsage.COPY_DST });
    encoder.resolveQuerySet(set, 0, launches.length * 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    return () => this.times.push(this.collect(set, resolved, staging, launches));
  }

  /** All dispatches so far, in order. */
  async finish(): Promise<DispatchTime[]> {
    return (await Promise.all(this.times)).flat();
  }

  private async collect(
    set: GPUQuerySet,
    resolved: GPUBuffer,
    staging: GPUBuffer,
    launches: readonly { launch: Launch; where: string }[],
  ): Promise<DispatchTime[]> {
    await staging.mapAsync(MapMode.READ);
    const stamps = new BigUint64Array(staging.getMappedRange().slice(0));
    staging.destroy();
    resolved.destroy();
    set.destroy();
    const origin = (this.origin ??= stamps[0]);
    return launches.map(({ launch, where }, i) => ({
      kernel: launch.name,
      where,
      startNs: Number(stamps[2 * i] - origin),
      durationNs: Number(stamps[2 * i + 1] - stamps[2 * i]),
      flops: launch.cost.flops,
      bytes: launch.cost.bytes,
    }));
  }
}

/** Throws `feature-missing` where dispatches cannot be timed. */
export function expectTimestamps({ device, report }: GpuContext): void {
  if (device.features.has('timestamp-query')) return;
  throw new DeitError('feature-missing', 'This adapter has no timestamp queries, so kernels cannot be timed.', {
    where: report.name,
    fix: 'profile on another adapter, or time whole steps',
  });
}

/** Times every dispatch that `encoder` encodes in `work`, which ends when the GPU has done them all. */
export async function profiled(
  { device }: GpuContext,
  encoder: { profiler: Profiler | null },
  work: () => Promise<void>,
): Promise<DispatchTime[]> {
  const profiler = new Profiler(device);
  encoder.profiler = profiler;
  try {
    await work();
  } finally {
    encoder.profiler = null;
  }
  return profiler.finish();
}
