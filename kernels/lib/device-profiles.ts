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

const square16 = { M: 16, N: 16, K: 16 } as const;
const tensorCores: DeviceProfile['subgroupMatrix'] = [
  { componentType: 'f16', resultComponentType: 'f16', ...square16 },
  { componentType: 'f16', resultComponentType: 'f32', ...square16 },
];

/** As Dawn reports Mesa's AMD driver, which `npm run bench -- --isa` asks. */
const amd: DeviceProfile = {
  ...gpu,
  maxWorkgroupStorage: 65536,
  maxBindingSize: 2 ** 32 - 256,
  maxStorageBuffers: 16,
  // Waves are of 32 or 64 lanes, as the compiler likes.
  subgroupSize: 0,
  pinnedSubgroupSizes: [32, 64],
  subgroupMatrix: [],
};

/** Typical and real devices as data: what kernels choose for them can be looked at, and tested, without having one. */
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
  /** NVIDIA from Turing on, by Vulkan. */
  nvidia: {
    ...amd,
    maxWorkgroupStorage: 49152,
    subgroupSize: 32,
    pinnedSubgroupSizes: [32],
    subgroupMatrix: tensorCores,
  },
  /** Radeon RX 7000. */
  'amd-rdna3': { ...amd, subgroupMatrix: tensorCores },
  /** Radeon RX 6000. */
  'amd-rdna2': amd,
  /** Radeon RX 9000; the driver of 2025 offers no matrices there. */
  'amd-rdna4': amd,
  /** Radeon RX 400 and 500. */
  'amd-gcn4': { ...amd, subgroupSize: 64, pinnedSubgroupSizes: [64], f16: false },
  /** Intel Arc, by Vulkan; limits and widths by its documentation. Its matrices are not square, which no kernel here takes. */
  'intel-xe': {
    ...gpu,
    maxWorkgroupStorage: 65536,
    subgroupSize: 0,
    pinnedSubgroupSizes: [8, 16, 32],
    subgroupMatrix: [{ componentType: 'f16', resultComponentType: 'f32', M: 8, N: 16, K: 16 }],
  },
  /** Apple silicon, by Metal: Dawn reports widths of 4 to 64, which cannot be chosen. Its matrices sum in their own type. */
  apple: {
    ...gpu,
    maxWorkgroupStorage: 32768,
    subgroupSize: 0,
    subgroupMatrix: [{ componentType: 'f16', resultComponentType: 'f16', M: 8, N: 8, K: 8 }],
  },
  /** Qualcomm Adreno 700: widths of 64 and 128. */
  adreno: { ...gpu, maxWorkgroupStorage: 32768, maxBindingSize: 2 ** 27, subgroupSize: 0 },
  any,
} as const satisfies Record<string, DeviceProfile>;

export type DeviceProfileName = keyof typeof deviceProfiles;
