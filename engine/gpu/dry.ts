import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { GpuContext } from './context.ts';

/** The largest range that was bound to a kernel. */
export interface LargestBinding {
  bytes: number;
  /** Operator and shapes. */
  where: string;
}

/**
 * A device that takes every command and does nothing: what runs on it is recorded, planned and accounted for as on the
 * real one, without memory, compilation or computation. Whatever is read back is zero.
 */
export function dryContext(real: Omit<GpuContext, 'device'>): { context: GpuContext; largestBinding: LargestBinding } {
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
  return { context: { ...real, device: device as unknown as GPUDevice, openSecondDevice: null }, largestBinding };
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
