/** The work of bench/gpu, the same as in torch_reference.py. */
import type { OperatorCheck } from '../../test/support/golden-checks.ts';
import type { Comparison } from '../../test/support/golden-training.ts';

export interface ModelSize {
  readonly image: number;
  readonly patch: number;
  readonly depth: number;
  readonly classes: number;
  /** The batch that is compared, and the largest that is tried. */
  readonly batch: number;
  readonly largest: number;
}

export interface Plan {
  readonly matmuls: readonly number[];
  readonly model: ModelSize;
}

export const FULL: Plan = {
  matmuls: [1024, 2048, 4096, 8192],
  model: { image: 224, patch: 16, depth: 12, classes: 1000, batch: 256, largest: 1024 },
};
/** For a try without a GPU. */
export const SMALL: Plan = {
  matmuls: [64, 100],
  model: { image: 32, patch: 8, depth: 2, classes: 10, batch: 4, largest: 8 },
};

export const MODELS = {
  'DeiT-Ti': { width: 192, heads: 3 },
  'DeiT-S': { width: 384, heads: 6 },
  'DeiT-B': { width: 768, heads: 12 },
} as const;
export type ModelName = keyof typeof MODELS;
export const MODEL_NAMES = Object.keys(MODELS) as ModelName[];

export const IMAGE_STREAM = 1_000_000;

/** n values in [-1, 1) that depend on index and stream alone: murmur3's finaliser. */
export function draw(n: number, stream: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(n);
  const start = Math.imul(stream, 0x9e3779b9);
  for (let i = 0; i < n; i++) {
    let h = (start + i) | 0;
    h ^= h >>> 16;
    h = Math.imul(h, 0x85ebca6b);
    h ^= h >>> 13;
    h = Math.imul(h, 0xc2b2ae35);
    h ^= h >>> 16;
    values[i] = (h >>> 0) / 2 ** 31 - 1;
  }
  return values;
}

/** What a parameter starts from: `stream` is the place of its name in the sorted list of names. */
export function initialValues(name: string, size: number, stream: number): Float32Array<ArrayBuffer> {
  const offset = name.includes('norm') && name.endsWith('weight') ? 1 : 0;
  const scale = Math.fround(0.035);
  return draw(size, stream).map((value) => Math.fround(value * scale) + offset);
}

/** One model at one batch size, in ms and images a second. */
export interface Timing {
  readonly imagesPerSecond: number;
  readonly ms: number;
  /** Time in kernels; null where it cannot be measured. */
  readonly kernelMs: number | null;
}

export interface ModelRow {
  readonly batch: number;
  readonly forward?: Timing;
  readonly training?: Timing;
  readonly logits?: readonly (readonly number[])[];
  readonly losses?: readonly number[];
  /** Longest kernels of the training step, ms. */
  readonly kernels?: Readonly<Record<string, number>>;
  readonly peakBytes?: number;
  readonly failure?: string;
}

export interface TorchRow {
  readonly batch: number;
  readonly forward_f32: Timing;
  readonly forward_amp: Timing;
  readonly training_f32: Timing;
  readonly training_amp: Timing;
  readonly logits?: readonly (readonly number[])[];
  readonly losses?: readonly number[];
}

export interface TorchReport {
  readonly torch: string;
  readonly device: string;
  readonly small: boolean;
  readonly matmul: Readonly<Record<string, { readonly f32: number; readonly f16?: number }>>;
  readonly models: Readonly<Record<string, readonly TorchRow[]>>;
}

export type MatmulRow =
  { readonly ms: number; readonly error: number; readonly kernel: string } | { readonly failure: string };

/** What the GPU computes beside PyTorch in float64: test/golden. */
export interface Correctness {
  readonly operators: OperatorCheck | { readonly failure: string };
  /** Losses of a distilled run, and logits of teachers. */
  readonly training: readonly Comparison[] | { readonly failure: string };
  readonly teachers: readonly Comparison[] | { readonly failure: string };
}

/** Written anew after every measurement: what is there counts, however a run ends. */
export interface GpuReport {
  readonly date: string;
  readonly node: string;
  readonly adapter: string;
  readonly features: readonly string[];
  readonly small: boolean;
  /** Whether everything was measured that there was time for. */
  isComplete: boolean;
  correctness: Correctness | null;
  /** What the tuner found, by model and precision; its choices are used by the times of models. */
  readonly tuning: Record<string, string>;
  /** ms and largest error over sqrt(n) of a checked sample, by size. */
  readonly matmul: Record<string, MatmulRow>;
  /** The same with operands and results in f16, and the kernel that was chosen. */
  readonly matmulF16: Record<string, MatmulRow>;
  readonly models: Record<string, ModelRow[]>;
  readonly modelsF16: Record<string, ModelRow[]>;
  /** What was left out, and why. */
  readonly notMeasured: string[];
  readonly torch: TorchReport | null;
}
