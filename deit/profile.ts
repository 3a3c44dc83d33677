import type { DispatchTime } from '../engine/index.ts';

/** Time and work of one kernel over all its dispatches. */
export interface KernelTime {
  readonly kernel: string;
  readonly dispatches: number;
  readonly ms: number;
  /** Share of the time of all kernels. */
  readonly share: number;
  readonly gflops: number;
  readonly gbytes: number;
}

/** Dispatches summed up by kernel, the longest first. Rates are from each kernel's own account of its work. */
export function byKernel(times: readonly DispatchTime[]): KernelTime[] {
  const groups = new Map<string, { dispatches: number; ns: number; flops: number; bytes: number }>();
  for (const { kernel, durationNs, flops, bytes } of times) {
    const group = groups.get(kernel) ?? { dispatches: 0, ns: 0, flops: 0, bytes: 0 };
    group.dispatches++;
    group.ns += durationNs;
    group.flops += flops;
    group.bytes += bytes;
    groups.set(kernel, group);
  }
  const total = [...groups.values()].reduce((sum, { ns }) => sum + ns, 0);
  return [...groups]
    .map(([kernel, { dispatches, ns, flops, bytes }]) => ({
      kernel,
      dispatches,
      ms: ns / 1e6,
      share: ns / total,
      gflops: flops / ns,
      gbytes: bytes / ns,
    }))
    .sort((a, b) => b.ms - a.ms);
}

/** The dispatches as a trace that Perfetto and chrome://tracing open. */
export function toTrace(times: readonly DispatchTime[]): object {
  return {
    traceEvents: times.map(({ kernel, where, startNs, durationNs, flops, bytes }) => ({
      name: kernel,
      cat: 'gpu',
      ph: 'X',
      ts: startNs / 1000,
      dur: durationNs / 1000,
      pid: 1,
      tid: 1,
      args: { where, gflops: flops / durationNs, gbytes: bytes / durationNs },
    })),
  };
}
