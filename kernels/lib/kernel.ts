import { DeitError } from './errors.ts';
import type { DeviceProfile, Grid } from './device.ts';

/**
 * A kernel is a pure function from a problem (shapes, dtype, options) and a device profile to launches. The engine
 * memoises it by the problem's JSON and caches pipelines by the WGSL text, so a kernel needs no keys of its own.
 *
 *     export const softmaxForward: Kernel<SoftmaxProblem> = (problem, device) => [launch({ ... })];
 */
export type Kernel<Problem> = (problem: Problem, device: DeviceProfile) => Launch[];

export type Access = 'read' | 'read_write';

/** One storage buffer of a kernel: `type` is the WGSL store type, for example `array<vec4<f32>>`. */
export interface Binding {
  readonly name: string;
  readonly access: Access;
  readonly type: string;
}

export const input = (name: string, element = 'f32'): Binding => ({ name, access: 'read', type: `array<${element}>` });
export const output = (name: string, element = 'f32'): Binding => ({
  name,
  access: 'read_write',
  type: `array<${element}>`,
});

export type UniformType = 'u32' | 'i32' | 'f32';
/** Name to [type, value]; the WGSL struct and the bytes that the host writes both come from this one declaration. */
export type Uniforms = Readonly<Record<string, readonly [UniformType, number]>>;

export const u32 = (value: number): readonly [UniformType, number] => ['u32', value];
export const i32 = (value: number): readonly [UniformType, number] => ['i32', value];
export const f32 = (value: number): readonly [UniformType, number] => ['f32', value];

/** Floating point operations and bytes of memory traffic that the formula needs (not what a variant happens to spend). */
export interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

/** A byte range of a binding's tensor; without one the whole tensor is bound. `offset` is a multiple of 256. */
export interface BindingRange {
  readonly offset: number;
  readonly size: number;
}

/** Allocation memory that launches of one kernel hand on to each other. */
export interface Allocation {
  readonly elements: number;
  /** f32 if left out. */
  readonly dtype?: 'f32' | 'f16';
}

/** One dispatch, ready to be recorded. */
export interface Launch {
  /** Kernel family and variant, for example `softmax.forward/subgroup`: profiler rows and labels use it. */
  readonly name: string;
  readonly code: string;
  readonly bindings: readonly Binding[];
  /** Uniform words in declaration order; empty if the kernel has none. */
  readonly uniforms: Uint32Array;
  readonly grid: Grid;
  readonly cost: Cost;
  readonly ranges: Readonly<Record<string, BindingRange>>;
  /** Tensors that are no operands: whoever records the kernel allocates them for it. */
  readonly workspace: Readonly<Record<string, Allocation>>;
  /** Bindings that this problem does not use: where there is no tensor of the name, any other may be bound. */
  readonly unused: readonly string[];
  /** The tensor of a binding, where it is not called like the binding: see `bind`. */
  readonly tensors: Readonly<Record<string, string>>;
}

export interface LaunchSpec {
  name: string;
  bindings: readonly Binding[];
  uniforms?: Uniforms;
  /**
   * WGSL after the generated declarations: bindings appear as module-scope variables under their names, the uniforms
   * as `params.<name>`. `enables` are directives such as `enable subgroups;`.
   */
  wgsl: string;
  enables?: readonly string[];
  grid: Grid;
  cost: Cost;
  ranges?: Readonly<Record<string, BindingRange>>;
  /** By binding. Launches of one kernel that name the same one share it. */
  workspace?: Readonly<Record<string, Allocation>>;
  unused?: readonly string[];
}

export function launch(spec: LaunchSpec): Launch {
  const uniforms = Object.entries(spec.uniforms ?? {});
  const lines = (spec.enables ?? []).map((enable) => `enable ${enable};`);
  spec.bindings.forEach((binding, i) => {
    lines.push(`@group(0) @binding(${i}) var<storage, ${binding.access}> ${binding.name}: ${binding.type};`);
  });
  if (uniforms.length > 0) {
    lines.push(`struct Params { ${uniforms.map(([name, [type]]) => `${name}: ${type}`).join(', ')} }`);
    lines.push(`@group(0) @binding(${spec.bindings.length}) var<uniform> params: Params;`);
  }
  return {
    name: spec.name,
    code: `${lines.join('\n')}\n${spec.wgsl}`,
    bindings: spec.bindings,
    uniforms: uniformWords(spec.name, uniforms),
    grid: spec.grid,
    cost: spec.cost,
    ranges: spec.ranges ?? {},
    workspace: spec.workspace ?? {},
    unused: spec.unused ?? [],
    tensors: {},
  };
}

/**
 * The launches of a kernel as a part of another one: `tensors` gives other names to the tensors of some of its bindings, and
 * `workspace` says which of these are scratch memory.
 */
export function bind(
  launches: readonly Launch[],
  tensors: Readonly<Record<string, string>>,
  workspace: Readonly<Record<string, Allocation>> = {},
): Launch[] {
  const of = (name: string): string => tensors[name] ?? name;
  return launches.map((launch) => ({
    ...launch,
    tensors: Object.fromEntries(launch.bindings.map(({ name }) => [name, of(launch.tensors[name] ?? name)])),
    workspace: {
      ...Object.fromEntries(Object.entries(launch.workspace).map(([name, scratch]) => [of(name), scratch])),
      ...workspace,
    },
  }));
}

function uniformWords(kernel: string, uniforms: [string, readonly [UniformType, number]][]): Uint32Array {
  const words = new Uint32Array(uniforms.length);
  const floats = new Float32Array(words.buffer);
  uniforms.forEach(([name, [type, value]], i) => {
    if (type === 'f32') {
      floats[i] = value;
      return;
    }
    const low = type === 'u32' ? 0 : -(2 ** 31);
    const high = type === 'u32' ? 2 ** 32 - 1 : 2 ** 31 - 1;
    if (!Number.isInteger(value) || value < low || value > high) {
      throw new DeitError('limit-exceeded', `A size of this problem does not fit a 32-bit ${type}.`, {
        where: `kernel ${kernel}, uniform ${name}`,
        found: String(value),
        fix: 'use a smaller batch, or split the tensor',
      });
    }
    words[i] = value >>> 0;
  });
  return words;
}

/** Throws `bad-argument` unless `condition` holds: the preconditions of a kernel, checked before anything is recorded. */
export function require(condition: boolean, kernel: string, expected: string, found: unknown): asserts condition {
  if (!condition) {
    throw new DeitError('bad-argument', 'A precondition of a kernel does not hold.', {
      where: `kernel ${kernel}`,
      expected,
      found: JSON.stringify(found),
    });
  }
}

/** Greatest common divisor, for how many rows begin at an aligned address. */
const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** A run of rows handled by one launch. */
export interface RowChunk {
  readonly start: number;
  readonly rows: number;
  /** Ranges of the row-split bindings for this chunk; empty when one launch takes all rows. */
  readonly ranges: Readonly<Record<string, BindingRange>>;
}

/**
 * Splits `rows` so that no binding exceeds the device's limit: `bytesPerRow` gives, for each binding that advances with
 * the rows, its bytes a row. Every chunk starts on a 256-byte boundary of each of them.
 */
export function splitRows(
  rows: number,
  bytesPerRow: Readonly<Record<string, number>>,
  device: DeviceProfile,
  kernel: string,
): RowChunk[] {
  const widest = Math.max(...Object.values(bytesPerRow));
  if (rows * widest <= device.maxBindingSize) return [{ start: 0, rows, ranges: {} }];
  // Rows a chunk must be a multiple of, for 256-byte aligned offsets in every binding.
  let alignedRows = 1;
  for (const bytes of Object.values(bytesPerRow)) {
    const own = 256 / gcd(256, bytes);
    alignedRows = (alignedRows * own) / gcd(alignedRows, own);
  }
  const perChunk = Math.floor(device.maxBindingSize / widest / alignedRows) * alignedRows;
  if (perChunk === 0) {
    throw new DeitError('limit-exceeded', 'One row of this problem exceeds the largest binding of the device.', {
      where: `kernel ${kernel}`,
      expected: `at most ${device.maxBindingSize} bytes`,
      found: `${widest * alignedRows} bytes`,
    });
  }
  const chunks: RowChunk[] = [];
  for (let start = 0; start < rows; start += perChunk) {
    const count = Math.min(perChunk, rows - start);
    const ranges = Object.fromEntries(
      Object.entries(bytesPerRow).map(([name, bytes]) => [name, { offset: start * bytes, size: count * bytes }]),
    );
    chunks.push({ start, rows: count, ranges });
  }
  return chunks;
}
