import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import type { Command } from './commands.ts';
import type { GpuContext } from './context.ts';

/** The largest range that was bound to a kernel. */
export interface LargestBinding {
  bytes: number;
  /** Operator and shapes. */
  where: string;
}

/** What a dry run handed to its device: kernels and copies, in order; `where` is operator and shapes. */
export type DryCommand =
  | { readonly kind: 'dispatch'; readonly where: string; readonly launch: Launch }
  | { readonly kind: 'copy'; readonly bytes: number };

interface Dry {
  readonly context: GpuContext;
  readonly largestBinding: LargestBinding;
  readonly commands: DryCommand[];
}

/**
 * A device that takes every command and does nothing: what runs on it is recorded, planned and accounted for as on the
 * real one, without memory, compilation or computation. Whatever is read back is zero.
 */
export function dryContext(real: Omit<GpuContext, 'device'>): Dry {
  const largestBinding: LargestBinding = { bytes: 0, where: '' };
  const nothing = (): void => undefined;
  const buffer = (descriptor: GPUBufferDescriptor) => ({
    size: descriptor.size,
    destroy: nothing,
    unmap: nothing,
    mapAsync: () => Promise.resolve(),
    getMappedRange: (_offset: number, size: number) => new ArrayBuffer(size),
  });
  const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
  const encoder = { beginComputePass: () => pass, copyBufferToBuffer: nothing, finish: () => ({}) };
  const device = {
    limits: real.limits,
    features: new Set<string>(),
    lost: new Promise<never>(nothing),
    queue: { submit: nothing, writeBuffer: nothing, onSubmittedWorkDone: () => Promise.resolve() },
    createBuffer: buffer,
    createShaderModule: () => ({}),
    createComputePipelineAsync: () => Promise.resolve({}),
    createBindGroupLayout: ({ label }: GPUBindGroupLayoutDescriptor) => ({ label }),
    createPipelineLayout: () => ({}),
    createBindGroup: ({ entries, label }: GPUBindGroupDescriptor) => {
      for (const { resource } of entries) {
        const bytes = (resource as GPUBufferBinding).size ?? 0;
        if (bytes > largestBinding.bytes) Object.assign(largestBinding, { bytes, where: label });
      }
      return {};
    },
    createCommandEncoder: () => encoder,
    pushErrorScope: nothing,
    popErrorScope: () => Promise.resolve(null),
    destroy: nothing,
  };
  // The engine calls no other part of a device.
  const commands: DryCommand[] = [];
  const trace = (list: readonly Command[]): void => {
    for (const command of list) {
      if (command.kind === 'dispatch')
        commands.push({ kind: 'dispatch', where: command.where, launch: command.launch });
      if (command.kind === 'copy') commands.push({ kind: 'copy', bytes: command.from.size });
    }
  };
  const context = { ...real, device: device as unknown as GPUDevice, openSecondDevice: null, trace };
  return { context, largestBinding, commands };
}

/** The context of a device that is not there, of which `profile` says what a kernel may know. */
export function contextOf(profile: DeviceProfile): Omit<GpuContext, 'device'> {
  const report = { name: 'no device', vendor: '', architecture: '', description: '', software: profile.cpu };
  return {
    profile,
    limits: { maxBufferSize: Infinity, maxStorageBufferBindingSize: profile.maxBindingSize } as GPUSupportedLimits,
    report: { ...report, choice: 'none', advice: null, features: profile.f16 ? ['shader-f16'] : [] },
    openSecondDevice: null,
  };
}
