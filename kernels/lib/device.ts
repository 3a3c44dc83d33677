/** What a kernel may know of the device it will run on. Plain data, so that launch geometry is testable without a GPU. */
export interface DeviceProfile {
  /** Workgroups in one dimension of a dispatch (65,535 on most devices). */
  readonly maxWorkgroupsPerDimension: number;
  readonly maxInvocationsPerWorkgroup: number;
  /** Bytes of `var<workgroup>` memory. */
  readonly maxWorkgroupStorage: number;
  /** Bytes of one storage binding. */
  readonly maxBindingSize: number;
  readonly maxStorageBuffers: number;
  /** Width of a subgroup if it is the same for every kernel, else 0 (kernels that need subgroups are then not chosen). */
  readonly subgroupSize: number;
  /** Widths that a kernel may ask for (`subgroup_size_control`), for devices that leave the width to the compiler. */
  readonly pinnedSubgroupSizes?: readonly number[];
  readonly f16: boolean;
  /** Matrices that a subgroup multiplies as one (tensor cores), if the device has such. */
  readonly subgroupMatrix?: readonly SubgroupMatrixConfig[];
  /** A software adapter: lanes of a CPU core, where workgroup memory and barriers cost more than cached loads. */
  readonly cpu: boolean;
}

/**
 * Invocations of a workgroup on a processor, where nothing else decides: its vector width, so that there are many workgroups
 * to share out among cores.
 */
export const CPU_LANES = 8;

/** One M x K by K x N product of a subgroup, as WebGPU's adapter info lists it. */
export interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Sides of the square matrices of f16 that a subgroup multiplies into f32. */
export const squareMatrices = ({ subgroupMatrix = [] }: DeviceProfile): number[] =>
  subgroupMatrix
    .filter(({ componentType, resultComponentType }) => componentType === 'f16' && resultComponentType === 'f32')
    .filter(({ M, N, K }) => M === N && N === K)
    .map(({ M }) => M);

/** A subgroup that multiplies matrices: its lanes (0: not to be had), and what a kernel says to have so many. */
export interface MatrixSubgroup {
  readonly lanes: number;
  readonly enables: readonly string[];
  readonly attribute: string;
}

/** Subgroups are of one size on the device, or of the one that is asked for: 32 lanes, for which matrix units are built. */
export function matrixSubgroup({ subgroupSize, pinnedSubgroupSizes = [] }: DeviceProfile): MatrixSubgroup {
  if (subgroupSize > 0) return { lanes: subgroupSize, enables: [], attribute: '' };
  const lanes = pinnedSubgroupSizes.includes(32) ? 32 : (pinnedSubgroupSizes[0] ?? 0);
  return { lanes, enables: ['subgroup_size_control'], attribute: `@subgroup_size(${lanes})` };
}

/** Storage binding offsets are multiples of this on every device that WebGPU allows. */
export const BINDING_ALIGNMENT = 256;

export type Grid = readonly [number, number, number];

export const ceilDiv = (a: number, b: number): number => Math.floor((a + b - 1) / b);

/**
 * A one-dimensional grid of `workgroups` folded into (x, y) where it exceeds the limit of one dimension.
 * The shader recovers the linear index with `linear_workgroup(workgroup_id, num_workgroups)` and must test it
 * against its count, since x * y may exceed `workgroups`.
 */
export function foldGrid(workgroups: number, device: DeviceProfile): Grid {
  const limit = device.maxWorkgroupsPerDimension;
  if (workgroups <= limit) return [Math.max(1, workgroups), 1, 1];
  const y = ceilDiv(workgroups, limit);
  return [ceilDiv(workgroups, y), y, 1];
}

/** WGSL twin of `foldGrid`. */
export const linearWorkgroupWgsl = /* wgsl */ `
fn linear_workgroup(workgroup: vec3u, workgroups: vec3u) -> u32 {
  return workgroup.y * workgroups.x + workgroup.x;
}
`;

/** Whether subgroups are as small and as fixed as kernels for software adapters need. */
export const hasSubgroups = ({ subgroupSize }: DeviceProfile): boolean => subgroupSize >= 4 && subgroupSize <= 16;

/** Whether lanes of a subgroup can exchange values, however many they are. */
export const hasAnySubgroups = ({ subgroupSize, pinnedSubgroupSizes = [] }: DeviceProfile): boolean =>
  subgroupSize > 1 || pinnedSubgroupSizes.length > 0;
