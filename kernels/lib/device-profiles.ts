import type { DeviceProfile } from './device.ts';

/** What every WebGPU device offers. */
const any: DeviceProfile = {
  maxWorkgroupsPerDimension: 65535,
  maxInvocationsPerWorkgroup: 256,
  maxWorkgroupStorage: 16384,
  maxBindingSize: 2 ** 27,
  maxStorageBuffers: 8,
  subgroupSize: 0,
  f16: false,
  cpu: false,
};

const gpu: DeviceProfile = {
  ...any,
  maxInvocationsPerWorkgroup: 1024,
  maxWorkgroupStorage: 49152,
  maxBindingSize: 2 ** 30,
  maxStorageBuffers: 10,
  subgroupSize: 32,
  f16: true,
};

/** Typical devices as data: what kernels choose for them can be looked at, and tested, without having one. */
export const deviceProfiles = {
  /** A discrete GPU. */
  gpu,
  /** A software adapter on a processor with vectors of eight numbers, such as Mesa's lavapipe. */
  cpu: { ...gpu, subgroupSize: 8, cpu: true },
  /** A GPU whose subgroups multiply 16 x 16 matrices of f16. */
  'tensor-cores': {
    ...gpu,
    subgroupMatrix: [{ componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 }],
  },
  any,
} as const satisfies Record<string, DeviceProfile>;

export type DeviceProfileName = keyof typeof deviceProfiles;
