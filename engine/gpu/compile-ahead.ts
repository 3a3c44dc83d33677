import type { Launch } from '../../kernels/lib/kernel.ts';
import { PipelineBuilder } from './pipeline-builder.ts';
import { BufferUsage } from './constants.ts';

/**
 * Mesa's lavapipe does not compile a kernel when its pipeline is made, but when it is first dispatched, on the one thread
 * that runs the device's commands: a training step would begin with seconds of compiling, one kernel after the other. So
 * each kernel is dispatched once with no workgroups, as soon as it is known, while the step is still being recorded. And
 * where that turns out to take long, a second device on the same driver takes part: what it compiles, the first finds in
 * the driver's cache on disk, in a few milliseconds. (Without that cache the first compiles it too, as it would have anyway.)
 */
export class CompileAhead {
  private readonly waiting: Job[] = [];
  private readonly home: Site;
  private isHomeBusy = false;
  private hasHelp = false;

  constructor(
    builder: PipelineBuilder,
    private readonly openSecond: () => Promise<GPUDevice>,
  ) {
    this.home = new Site(builder);
  }

  /** Resolves when the first real dispatch of `pipeline` will find it compiled. Never rejects: that dispatch tells what is wrong. */
  compile(launch: Launch, pipeline: GPUComputePipeline): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push({ launch, pipeline, resolve });
      if (!this.isHomeBusy) void this.workAtHome();
    });
  }

  /** Compiles nothing more. */
  close(): void {
    for (const { resolve } of this.waiting.splice(0)) resolve();
  }

  /** The longest first: what is left for the end should be short. */
  private take(): Job | undefined {
    const longest = this.waiting.reduce((best, { launch }, i) => {
      return launch.code.length > this.waiting[best].launch.code.length ? i : best;
    }, 0);
    return this.waiting.splice(longest, 1)[0];
  }

  private async workAtHome(): Promise<void> {
    this.isHomeBusy = true;
    for (let job = this.take(); job; job = this.take()) {
      const start = performance.now();
      await this.home.dispatchNothing(job.launch, job.pipeline).catch(() => undefined);
      if (performance.now() - start > COLD_MS && !this.hasHelp && this.waiting.length > 0) void this.workAway();
      job.resolve();
    }
    this.isHomeBusy = false;
  }

  private async workAway(): Promise<void> {
    this.hasHelp = true;
    let device: GPUDevice | null = null;
    try {
      device = await this.openSecond();
      const builder = new PipelineBuilder(device);
      const site = new Site(builder);
      for (let job = this.take(); job; job = this.take()) {
        try {
          await site.dispatchNothing(job.launch, await builder.build(job.launch));
          await new Promise((resolve) => setTimeout(resolve, WRITING_MS));
        } finally {
          job.resolve();
        }
      }
    } catch {
      // The first device compiles what the second could not.
    }
    device?.destroy();
    this.hasHelp = false;
  }
}

/** A kernel that takes longer was compiled, not read from the driver's cache. */
const COLD_MS = 50;
/** Within which the driver has written a compiled kernel to its cache. */
const WRITING_MS = 10;
/** More than any uniform block, or one element of any array. */
const ZERO_BYTES = 512;

interface Job {
  readonly launch: Launch;
  readonly pipeline: GPUComputePipeline;
  readonly resolve: () => void;
}

/** A device with buffers to bind where nothing is read. */
class Site {
  private readonly device: GPUDevice;
  private readonly readable: GPUBuffer;
  private readonly writable: GPUBuffer[] = [];

  constructor(private readonly builder: PipelineBuilder) {
    this.device = builder.device;
    this.readable = this.buffer(BufferUsage.STORAGE | BufferUsage.UNIFORM | BufferUsage.INDIRECT);
  }

  async dispatchNothing(launch: Launch, pipeline: GPUComputePipeline): Promise<void> {
    let written = 0;
    const buffers = launch.bindings.map(({ access }) =>
      access === 'read' ? this.readable : this.writableBuffer(written++),
    );
    if (launch.uniforms.length > 0) buffers.push(this.readable);
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(
      0,
      this.device.createBindGroup({
        layout: this.builder.layout(launch).group,
        entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
      }),
    );
    // Zero workgroups, read from a buffer: Dawn warns of a zero that it sees.
    pass.dispatchWorkgroupsIndirect(this.readable, 0);
    pass.end();
    this.device.queue.submit([encoder.finish()]);
    await this.device.queue.onSubmittedWorkDone();
  }

  /** No two writable bindings may share memory. */
  private writableBuffer(i: number): GPUBuffer {
    return (this.writable[i] ??= this.buffer(BufferUsage.STORAGE));
  }

  private buffer(usage: number): GPUBuffer {
    return this.device.createBuffer({ size: ZERO_BYTES, usage, label: 'zeros' });
  }
}
