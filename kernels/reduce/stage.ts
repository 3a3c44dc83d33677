/* What the kernels of a reduction share: the problem, one stage of it, and how elements combine. */
import type { DeviceProfile } from '../lib/device.ts';
import type { Launch } from '../lib/kernel.ts';
import { orderWgsl } from '../lib/math.ts';
import type { Choice } from '../lib/variant.ts';

export interface ReduceProblem {
  op: 'sum' | 'amax';
  outer: number;
  reduce: number;
  inner: number;
  /** What a sum is divided by in the end: the count for a mean, -1 for a negated sum. */
  divisor?: number;
  /** x is f16 in memory (sums only); partial results and y are f32. */
  f16?: boolean;
}

/** A reduction that one stage begins: the whole problem, or the partial results of the stage before. */
export type StageProblem = Omit<ReduceProblem, 'divisor'>;

/** How invocations share out the elements of a stage. */
export interface Access extends Choice<StageProblem> {
  /** Elements of a segment that are loaded at once: by one invocation, or by a workgroup. */
  readonly load: (device: DeviceProfile) => number;
  /** Neighbouring results of one invocation. */
  readonly results: number;
  /** Invocations of one result. */
  readonly lanes: (device: DeviceProfile) => number;
  readonly launches: (
    op: ReduceProblem['op'],
    stage: Stage,
    ends: Ends,
    divisor: number,
    device: DeviceProfile,
  ) => Launch[];
}

export interface Stage {
  readonly access: Access;
  readonly outer: number;
  readonly reduce: number;
  readonly inner: number;
  /** Elements a segment, and segments. */
  readonly segment: number;
  readonly segments: number;
}

/** Bindings that a stage reads and writes, and whether it reads f16. */
export interface Ends {
  readonly from: string;
  readonly to: string;
  readonly f16: boolean;
}

/** How one element type and operation combine in WGSL. */
export interface Monoid {
  /** Scalar and vector type of the accumulator, and of the bindings. */
  readonly scalar: 'f32' | 'u32';
  readonly vector: 'vec4f' | 'vec4u';
  readonly identity: string;
  readonly functions: string;
  readonly subgroup: 'subgroupAdd' | 'subgroupMax';
  load(raw: string, vector: boolean): string;
  combine(a: string, b: string): string;
  store(value: string, vector: boolean): string;
}

export const monoids: Record<ReduceProblem['op'], Monoid> = {
  sum: {
    scalar: 'f32',
    vector: 'vec4f',
    identity: '0.0',
    functions: '',
    subgroup: 'subgroupAdd',
    load: (raw) => raw,
    combine: (a, b) => `${a} + ${b}`,
    store: (value) => `(${value}) / params.divisor`,
  },
  amax: {
    scalar: 'u32',
    vector: 'vec4u',
    identity: '0u',
    functions: orderWgsl,
    subgroup: 'subgroupMax',
    load: (raw, vector) => `order${vector ? '4' : ''}(${raw})`,
    combine: (a, b) => `max(${a}, ${b})`,
    store: (value, vector) => `unorder${vector ? '4' : ''}(${value})`,
  },
};

/** Bytes of what a stage reads. */
export const stageBytes = ({ outer, reduce, inner, f16 }: StageProblem): number =>
  (f16 ? 2 : 4) * outer * reduce * inner;

/** Loads of one accumulator before it is added to the next. */
export const BLOCK = 16;

export const WORKGROUP = 64;

/** Invocations of a workgroup that shares one row. */
export const rowLanes = (device: DeviceProfile): number => device.subgroupSize || WORKGROUP;
