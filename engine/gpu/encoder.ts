import { DeitError } from '../../kernels/lib/errors.ts';
import type { Grid } from '../../kernels/lib/device.ts';
import type { Cost } from '../../kernels/lib/kernel.ts';
import type { Command, DispatchCommand, ReadCommand, Region } from './commands.ts';
import type { Profiler } from './profiler.ts';
import { ReadbackPool } from './readback.ts';
import type { Reader } from './reader.ts';
import type { Staging } from './readback.ts';
import type { Download, Upload } from './staging-buffers.ts';
import type { PhysicalBuffer, Storage } from './storage.ts';
import { UniformTable } from './uniforms.ts';

interface EncodedDispatch {
  readonly kind: 'dispatch';
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: Grid;
  readonly source: DispatchCommand;
}
interface EncodedCopy {
  readonly kind: 'copy';
  readonly from: GPUBuffer;
  readonly fromOffset: number;
  readonly to: GPUBuffer;
  readonly toOffset: number;
  readonly size: number;
}
interface EncodedWrite {
  readonly kind: 'write';
  readonly to: GPUBuffer;
  readonly offset: number;
  readonly data: Uint8Array<ArrayBuffer>;
  /** Something earlier in the list uses the target: submit that first, since queue writes run before the next submit. */
  readonly ordered: boolean;
}
interface EncodedRead {
  readonly kind: 'read';
  readonly from: GPUBuffer;
  readonly offset: number;
  readonly source: ReadCommand;
}
/** A region in a buffer, that goes to host memory or comes from there. */
interface EncodedPart {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}
interface EncodedDownload {
  readonly kind: 'download';
  readonly parts: readonly EncodedPart[];
  readonly to: Download;
}
interface EncodedUpload {
  readonly kind: 'upload';
  readonly from: Upload;
  readonly parts: readonly EncodedPart[];
}
type EncodedCommand = EncodedDispatch | EncodedCopy | EncodedWrite | EncodedRead | EncodedDownload | EncodedUpload;

/** A command list with everything resolved: encoding it again takes no lookups and no allocation. */
export interface EncodedBatch {
  readonly commands: readonly EncodedCommand[];
}

/** What is being read back, and for whom. */
export interface PendingRead {
  readonly reader: Reader;
  readonly content: Promise<ArrayBuffer>;
}

const MAX_BIND_GROUPS = 16384;

/**
 * Work of dispatches that are submitted together at most. Operating systems take the device away from a program whose
 * submission keeps the GPU for too long: Windows after two seconds. This is less than one on an integrated GPU of 150 GFLOP/s
 * and 25 GB/s; a fast GPU has it behind itself in milliseconds, which is still a hundred times what a submission costs.
 */
const SUBMITTED_WORK = 1e11;
const workOf = ({ flops, bytes }: Cost): number => flops + 5 * bytes;

/** Turns placed commands into command buffers. */
export class Encoder {
  readonly statistics = { dispatches: 0, submits: 0 };
  /** While set, every dispatch is timed. */
  profiler: Profiler | null = null;
  private readonly uniforms: UniformTable;
  private readonly readbacks: ReadbackPool;
  private readonly groups = new Map<string, GPUBindGroup>();
  /** In debug mode: what the GPU says of each dispatch of the list under way. */
  private outcomes: Promise<DeitError | null>[] = [];

  constructor(
    private readonly device: GPUDevice,
    private readonly debug: boolean,
  ) {
    this.uniforms = new UniformTable(device);
    this.readbacks = new ReadbackPool(device);
  }

  encode(commands: readonly Command[], physical: ReadonlyMap<Storage, PhysicalBuffer>): EncodedBatch {
    const bufferOf = (region: Region): PhysicalBuffer => physical.get(region.storage)!;
    const partOf = (region: Region): EncodedPart => ({
      buffer: bufferOf(region).buffer,
      offset: region.offset,
      size: region.size,
    });
    const touched = new Set<PhysicalBuffer>();
    const encoded: EncodedCommand[] = [];
    for (const command of commands) {
      switch (command.kind) {
        case 'dispatch': {
          const group = this.bindGroup(command, command.regions.map(bufferOf));
          for (const region of command.regions) touched.add(bufferOf(region));
          const pipeline = command.pipeline.pipeline!;
          encoded.push({ kind: 'dispatch', pipeline, group, grid: command.launch.grid, source: command });
          break;
        }
        case 'copy': {
          const [from, to] = [bufferOf(command.from), bufferOf(command.to)];
          touched.add(from).add(to);
          encoded.push({
            kind: 'copy',
            from: from.buffer,
            fromOffset: command.from.offset,
            to: to.buffer,
            toOffset: command.to.offset,
            size: command.to.size,
          });
          break;
        }
        case 'write': {
          const to = bufferOf(command.to);
          const write = { kind: 'write' as const, to: to.buffer, offset: command.to.offset, data: command.data };
          encoded.push({ ...write, ordered: touched.has(to) });
          break;
        }
        case 'read': {
          const from = bufferOf(command.from);
          touched.add(from);
          encoded.push({ kind: 'read', from: from.buffer, offset: command.from.offset, source: command });
          break;
        }
        case 'download':
          for (const region of command.from) touched.add(bufferOf(region));
          encoded.push({ kind: 'download', parts: command.from.map(partOf), to: command.to });
          break;
        case 'upload':
          for (const region of command.to) touched.add(bufferOf(region));
          encoded.push({ kind: 'upload', from: command.from, parts: command.to.map(partOf) });
          break;
        case 'free':
          break;
      }
    }
    return { commands: encoded };
  }

  /** Runs `work`, which encodes and submits the commands, and resolves to what the GPU finds wrong with that, or null. */
  validate(commands: readonly Command[], work: () => void): Promise<DeitError | null> {
    this.outcomes = [];
    this.device.pushErrorScope('out-of-memory');
    this.device.pushErrorScope('validation');
    try {
      work();
    } finally {
      this.outcomes.push(this.popErrors(commands));
    }
    return Promise.all(this.outcomes).then((errors) => errors.find((error) => error !== null) ?? null);
  }

  submit(batch: EncodedBatch): PendingRead[] {
    const reads: [EncodedRead, Staging][] = [];
    const uploads: Upload[] = [];
    let encoder: GPUCommandEncoder | null = null;
    let pass: GPUComputePassEncoder | null = null;
    let work = 0;
    const endPass = (): GPUCommandEncoder => {
      pass?.end();
      pass = null;
      return (encoder ??= this.device.createCommandEncoder());
    };
    const submit = (): void => {
      if (!encoder) return;
      endPass();
      const afterwards = this.profiler?.resolve(encoder);
      this.device.queue.submit([encoder.finish()]);
      afterwards?.();
      this.statistics.submits++;
      encoder = null;
      work = 0;
    };
    for (const command of batch.commands) {
      switch (command.kind) {
        case 'dispatch': {
          const own = workOf(command.source.launch.cost);
          if (work + own > SUBMITTED_WORK) submit();
          work += own;
          pass = this.profiler
            ? this.timedPass(command, endPass, submit)
            : (pass ?? (encoder ??= this.device.createCommandEncoder()).beginComputePass());
          pass.setPipeline(command.pipeline);
          pass.setBindGroup(0, command.group);
          pass.dispatchWorkgroups(command.grid[0], command.grid[1], command.grid[2]);
          this.statistics.dispatches++;
          if (this.debug) {
            submit();
            this.checkAlone(command.source.where);
          }
          break;
        }
        case 'copy':
          endPass().copyBufferToBuffer(command.from, command.fromOffset, command.to, command.toOffset, command.size);
          break;
        case 'write':
          if (command.ordered) submit();
          this.device.queue.writeBuffer(command.to, command.offset, command.data);
          break;
        case 'read': {
          const staging = this.readbacks.acquire(command.source.from.size);
          const size = Math.ceil(command.source.from.size / 4) * 4;
          endPass().copyBufferToBuffer(command.from, command.offset, staging.buffer, 0, size);
          reads.push([command, staging]);
          break;
        }
        case 'download': {
          const { to, parts } = command;
          let at = 0;
          for (const { buffer, offset, size } of parts) {
            endPass().copyBufferToBuffer(buffer, offset, to.buffer, at, size);
            at += size;
          }
          // Submitted here, so that the host has it while the GPU does the rest of the list.
          submit();
          void to.handOver();
          break;
        }
        case 'upload': {
          const { from, parts } = command;
          from.handOver();
          let at = 0;
          for (const { buffer, offset, size } of parts) {
            endPass().copyBufferToBuffer(from.buffer, at, buffer, offset, size);
            at += size;
          }
          uploads.push(from);
          break;
        }
      }
    }
    submit();
    for (const upload of uploads) upload.reclaim();
    return reads.map(([{ source }, staging]) => ({
      reader: source.reader,
      content: this.readbacks.collect(staging, source.from.size),
    }));
  }

  /** A pass for one dispatch with timestamps; a full set of queries is submitted first. */
  private timedPass(command: EncodedDispatch, endPass: () => GPUCommandEncoder, submit: () => void) {
    const { launch, where } = command.source;
    let descriptor = this.profiler!.pass(launch, where);
    if (!descriptor) {
      submit();
      descriptor = this.profiler!.pass(launch, where)!;
    }
    return endPass().beginComputePass(descriptor);
  }

  /** Debug mode: closes the validation scope after one dispatch, so that an error names it, and opens the next. */
  private checkAlone(where: string): void {
    const outcome = this.device.popErrorScope().then((error) => {
      if (!error) return null;
      return new DeitError('gpu-validation', 'The GPU rejected a dispatch.', { where, found: error.message });
    });
    this.outcomes.push(outcome);
    this.device.pushErrorScope('validation');
  }

  private async popErrors(commands: readonly Command[]): Promise<DeitError | null> {
    const [validation, memory] = await Promise.all([this.device.popErrorScope(), this.device.popErrorScope()]).catch(
      () => [null, null],
    );
    if (memory) {
      return new DeitError('out-of-memory', 'The GPU ran out of memory.', {
        found: memory.message,
        fix: 'use a smaller batch with gradient accumulation',
      });
    }
    if (!validation) return null;
    const culprit = commands.find((c) => c.kind === 'dispatch' && validation.message.includes(c.where));
    return new DeitError('gpu-validation', 'The GPU rejected a command list.', {
      where: culprit?.kind === 'dispatch' ? culprit.where : undefined,
      found: validation.message,
      fix: 'set DEIT_DEBUG=1 to have every dispatch checked by itself, and report what it says',
    });
  }

  private bindGroup(command: DispatchCommand, buffers: readonly PhysicalBuffer[]): GPUBindGroup {
    const { launch, regions, pipeline } = command;
    const uniform = launch.uniforms.length > 0 ? this.uniforms.get(launch.uniforms) : null;
    let key = `${pipeline.layout.label}:${uniform?.id ?? ''}`;
    for (let i = 0; i < buffers.length; i++) key += `|${buffers[i].id},${regions[i].offset},${regions[i].size}`;
    let group = this.groups.get(key);
    if (!group) {
      if (this.groups.size >= MAX_BIND_GROUPS) this.groups.clear();
      const entries: GPUBindGroupEntry[] = regions.map(({ offset, size }, binding) => ({
        binding,
        resource: { buffer: buffers[binding].buffer, offset, size },
      }));
      if (uniform) entries.push({ binding: entries.length, resource: uniform });
      group = this.device.createBindGroup({ layout: pipeline.layout, entries, label: command.where });
      this.groups.set(key, group);
    }
    return group;
  }
}
