import { DeitError } from '../../kernels/lib/errors.ts';
import { sharedDevice } from './shared-device.ts';
import type { DeviceProfile, SubgroupMatrixConfig } from '../../kernels/lib/device.ts';
import type { Command } from './commands.ts';

/** Where an engine runs, for people and for run folders. */
export interface AdapterReport {
  /** Human name, for example `llvmpipe (LLVM 19.1.7, 256 bits)`. */
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly software: boolean;
  /** How the adapter was chosen: `default`, `lavapipe`, `swiftshader`, `browser`, or what the user asked for. */
  readonly choice: string;
  /** What to do for a faster adapter, if there is something. */
  readonly advice: string | null;
  readonly features: readonly string[];
}

export interface GpuContext {
  readonly device: GPUDevice;
  readonly profile: DeviceProfile;
  readonly report: AdapterReport;
  readonly limits: GPUSupportedLimits;
  /** Another device on the same driver, to compile on beside this one; null where that gains nothing. */
  readonly openSecondDevice: (() => Promise<GPUDevice>) | null;
  /** Is told of every list of commands that is handed to the device, replayed ones too. */
  readonly trace?: (commands: readonly Command[]) => void;
}

/** Dawn's, which no list of feature names has yet. */
const SUBGROUP_MATRIX = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;
const SUBGROUP_SIZE_CONTROL = 'subgroup-size-control' as GPUFeatureName;
const WANTED_FEATURES: readonly GPUFeatureName[] = [
  'subgroups',
  'shader-f16',
  'timestamp-query',
  SUBGROUP_SIZE_CONTROL,
  SUBGROUP_MATRIX,
];
const WANTED_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupsPerDimension',
] as const;

const SOFTWARE = /llvmpipe|lavapipe|swiftshader|software|basic render/i;

export const isSoftwareAdapter = (info: GPUAdapterInfo): boolean =>
  SOFTWARE.test(`${info.device} ${info.description} ${info.architecture} ${info.vendor}`);

/** What the adapter says of its matrices, as plain data. */
function subgroupMatrices(info: GPUAdapterInfo): SubgroupMatrixConfig[] {
  const { subgroupMatrixConfigs = [] } = info as { subgroupMatrixConfigs?: readonly SubgroupMatrixConfig[] };
  return [...subgroupMatrixConfigs].map(({ componentType, resultComponentType, M, N, K }) => ({
    componentType,
    resultComponentType,
    M,
    N,
    K,
  }));
}

/** Powers of two between the narrowest and the widest subgroup. */
const widthsOf = ({ subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo): number[] =>
  [4, 8, 16, 32, 64, 128].filter((width) => width >= subgroupMinSize && width <= subgroupMaxSize);

/** A device with every limit and wanted feature that the adapter has. */
function requestDevice(adapter: GPUAdapter): Promise<GPUDevice> {
  return adapter.requestDevice({
    requiredFeatures: WANTED_FEATURES.filter((feature) => adapter.features.has(feature)),
    requiredLimits: Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]])),
    label: 'deit-webgpu',
  });
}

/** What was found on the machine: an adapter, how it was chosen, and how to get the like of it once more. */
export interface FoundAdapter {
  readonly adapter: GPUAdapter;
  readonly choice: string;
  readonly advice: string | null;
  /** Another of the same: an adapter yields one device. */
  readonly again?: () => Promise<GPUAdapter | null>;
}

/** Whether a kernel is compiled at its first dispatch only: see compile-ahead.ts. */
const compilesLate = (info: GPUAdapterInfo): boolean => /llvmpipe/i.test(`${info.device} ${info.description}`);

/** Opens the one device that an adapter yields. */
export async function openContext({ adapter, choice, advice, again }: FoundAdapter): Promise<GpuContext> {
  let device: GPUDevice;
  try {
    device = await requestDevice(adapter);
  } catch (cause) {
    throw new DeitError('no-adapter', 'The adapter refused to open a device.', {
      where: adapter.info.description,
      found: cause instanceof Error ? cause.message : String(cause),
      fix:
        choice === 'given'
          ? 'an adapter yields one device: request a new adapter, or give the engine that device'
          : 'update the GPU driver, or choose another adapter (DEIT_ADAPTER=lavapipe or swiftshader)',
      cause,
    });
  }
  const { info } = adapter;
  const openSecondDevice = async (): Promise<GPUDevice> => {
    const other = await again?.();
    if (!other) throw new DeitError('no-adapter', 'The adapter is not to be had a second time.');
    return requestDevice(other);
  };
  const context = contextOf(device, info, choice, advice);
  return again && compilesLate(info) ? { ...context, openSecondDevice } : context;
}

/**
 * What the kernels rely on: the least that WebGPU guarantees of devices. Those of its compatibility mode may have less.
 * https://www.w3.org/TR/webgpu/#limits
 */
const LEAST_LIMITS: Readonly<Partial<Record<(typeof WANTED_LIMITS)[number], number>>> = {
  maxBufferSize: 2 ** 28,
  maxStorageBufferBindingSize: 2 ** 27,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupsPerDimension: 65535,
};

/**
 * Of a device or an adapter that the caller has: the device stays the caller's, the one device of an adapter is opened here.
 * Throws `bad-argument` for what is neither, `limit-exceeded` for a device with less than WebGPU guarantees, `device-lost`,
 * and `no-adapter` for an adapter that has yielded its device.
 */
export async function ownContext(given: GPUAdapter | GPUDevice | null): Promise<GpuContext> {
  if (given && 'requestDevice' in given) return openContext({ adapter: given, choice: 'given', advice: null });
  if (!given || !('createComputePipeline' in given)) {
    throw new DeitError('bad-argument', 'An engine works on a GPUAdapter or a GPUDevice.', {
      where: 'createEngine, adapter',
      found: given === null ? 'null, which requestAdapter() resolves to where there is no adapter' : String(given),
    });
  }
  const loss = await Promise.race([given.lost, given.queue.onSubmittedWorkDone().catch(() => undefined)]);
  if (loss) {
    throw new DeitError('device-lost', 'The device that was given to the engine is lost.', {
      where: 'createEngine, adapter',
      found: `${loss.reason}: ${loss.message}`,
      fix: 'request a new adapter, and a device of that',
    });
  }
  // Browsers of before 2025 do not say of a device what it runs on.
  const info = given.adapterInfo ?? ({ vendor: '', architecture: '', device: '', description: 'given device' } as GPUAdapterInfo); // prettier-ignore
  return contextOf(sharedDevice(given), info, 'given', null);
}

function expectLimits(limits: GPUSupportedLimits, choice: string): void {
  const short = Object.entries(LEAST_LIMITS).filter(
    ([name, least]) => limits[name as keyof typeof LEAST_LIMITS] < least,
  );
  if (short.length === 0) return;
  throw new DeitError('limit-exceeded', 'The kernels need more than this device allows.', {
    where: `createEngine, adapter (${choice})`,
    expected: short.map(([name, least]) => `${name} of at least ${least}`).join(', '),
    found: short.map(([name]) => `${limits[name as keyof typeof LEAST_LIMITS]}`).join(', '),
    fix: 'request the device with requiredLimits, or give the engine the adapter: it asks for all that the adapter has',
  });
}

function contextOf(device: GPUDevice, info: GPUAdapterInfo, choice: string, advice: string | null): GpuContext {
  const software = isSoftwareAdapter(info);
  const { limits } = device;
  expectLimits(limits, choice);
  return {
    device,
    limits,
    openSecondDevice: null,
    report: {
      name: info.description || info.device || info.architecture || 'unnamed adapter',
      vendor: info.vendor,
      architecture: info.architecture,
      description: info.description,
      software,
      choice,
      advice: software ? advice : null,
      features: [...device.features].sort(),
    },
    profile: {
      maxWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
      maxInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
      maxWorkgroupStorage: limits.maxComputeWorkgroupStorageSize,
      // Offsets are 256-aligned, so a chunk can only use whole multiples of that.
      maxBindingSize: Math.floor(Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize) / 256) * 256,
      maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
      subgroupSize:
        device.features.has('subgroups') && info.subgroupMinSize === info.subgroupMaxSize ? info.subgroupMinSize : 0,
      pinnedSubgroupSizes: device.features.has(SUBGROUP_SIZE_CONTROL) ? widthsOf(info) : [],
      f16: device.features.has('shader-f16'),
      subgroupMatrix: device.features.has(SUBGROUP_MATRIX) ? subgroupMatrices(info) : [],
      cpu: software,
    },
  };
}
