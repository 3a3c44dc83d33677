import { ceilDiv, CPU_LANES, foldGrid, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { launch, splitRows, u32 } from './kernel.ts';
import type { Binding, Cost, Launch, Uniforms } from './kernel.ts';

/*
 * What kernels that reduce over rows share (softmax, layer norm, losses): who works on a row, and how those who do add up
 * what they found. The formula is written once, for all of these variants:
 *
 *     subgroup     one subgroup a row, results shared by subgroup operations
 *     workgroup    one workgroup a row, results shared through workgroup memory: where subgroups have no fixed size
 *     invocation   one invocation a row: best on processors that load whole vectors, and for rows that are not contiguous
 *
 * A row is `width` elements, `inner` apart: the tensor is [outer, width, inner] and has outer * inner rows. Contiguous
 * rows of a multiple of four elements are read as vec4f.
 */

export interface RowShape {
  /** Contiguous slices of width * inner elements. */
  readonly outer: number;
  readonly width: number;
  /** Distance between the elements of a row; 1 if rows are contiguous. */
  readonly inner: number;
}

export type RowVariant = 'subgroup' | 'workgroup' | 'invocation';

export interface RowPlan {
  readonly variant: RowVariant;
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Elements of one load. */
  readonly vector: 1 | 4;
  /** Loads a lane, if it may keep them all in an array `held` indexed by `k`; else 0. */
  readonly held: number;
}

/** Invocations of a workgroup in the variant `workgroup`, and rows of one in the variant `invocation` on a GPU. */
const WORKGROUP = 64;
/** Most loads that a lane keeps. */
const MAX_HELD = 32;

export function planRows({ width, inner }: RowShape, device: DeviceProfile, hold = false): RowPlan {
  const vector = inner === 1 && width % 4 === 0 ? 4 : 1;
  const variant = chooseVariant(inner, vector, device);
  const lanes = variant === 'subgroup' ? device.subgroupSize : variant === 'workgroup' ? WORKGROUP : 1;
  const loads = ceilDiv(width / vector, lanes);
  // Alone with its row, a lane gains nothing from keeping it: there it is read from the cache as fast.
  return { variant, lanes, vector, held: hold && lanes > 1 && loads <= MAX_HELD ? loads : 0 };
}

function chooseVariant(inner: number, vector: 1 | 4, device: DeviceProfile): RowVariant {
  if (inner > 1) return 'invocation';
  if (!device.cpu) return device.subgroupSize > 0 ? 'subgroup' : 'workgroup';
  // A processor's lane loads a vec4f at once from anywhere, so nothing is gained by sharing a row; with scalar loads, the
  // operations between them are better spread over lanes.
  return device.subgroupSize > 0 && vector === 1 ? 'subgroup' : 'invocation';
}

/** WGSL: `body` for every element (or vector) of the row that is this lane's: `c` is its column, `i` its index. */
export function eachColumn({ lanes, held }: RowPlan, body: string): string {
  const index = 'let i = base + c * params.inner;';
  if (held === 0) return `for (var c = lane; c < params.columns; c += ${lanes}u) { ${index} ${body} }`;
  return `for (var k = 0u; k < ${held}u; k++) { let c = k * ${lanes}u + lane; if (c < params.columns) { ${index} ${body} } }`;
}

export interface RowKernelSpec {
  name: string;
  shape: RowShape;
  plan: RowPlan;
  bindings: readonly Binding[];
  /** Bytes that a binding advances with each outer slice; bindings that are the same for all rows are left out. */
  bytesPerSlice: Readonly<Record<string, number>>;
  uniforms?: Uniforms;
  functions?: string;
  /**
   * Statements for one row, executed by each of its lanes: `row`, `lane`, `base` (index of the row's first element),
   * `row_sum(V)`, `row_max(V)` (over the row, known to all lanes), `total(V)`, `highest(V)` (within a vector), `LOWEST`.
   * `V` is f32 or vec4f; `params.columns` counts loads a row, `params.width` elements; `columns_of(c)` are the columns of
   * the elements of load `c`.
   */
  body: string;
  /** Of all rows. */
  cost: Cost;
}

export function rowKernel(spec: RowKernelSpec, device: DeviceProfile): Launch[] {
  const { shape, plan } = spec;
  const { variant, lanes, vector } = plan;
  const workgroup = variant === 'invocation' ? (device.cpu ? CPU_LANES : WORKGROUP) : lanes;
  const rowsPerWorkgroup = workgroup / lanes;
  return splitRows(shape.outer, spec.bytesPerSlice, device, spec.name).map(({ rows: slices, ranges }) => {
    const rows = slices * shape.inner;
    const share = slices / shape.outer;
    return launch({
      name: `${spec.name}/${variant}${vector === 4 ? '4' : ''}`,
      bindings: spec.bindings,
      ranges,
      uniforms: {
        rows: u32(rows),
        width: u32(shape.width),
        columns: u32(shape.width / vector),
        inner: u32(shape.inner),
        ...spec.uniforms,
      },
      enables: variant === 'subgroup' ? ['subgroups'] : [],
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
alias V = ${vector === 4 ? 'vec4f' : 'f32'};
alias Columns = ${vector === 4 ? 'vec4u' : 'u32'};
fn columns_of(c: u32) -> Columns { return ${vector === 4 ? 'c * 4u + vec4u(0u, 1u, 2u, 3u)' : 'c'}; }
fn total(v: V) -> f32 { return ${vector === 4 ? '(v.x + v.y) + (v.z + v.w)' : 'v'}; }
fn highest(v: V) -> f32 { return ${vector === 4 ? 'max(max(v.x, v.y), max(v.z, v.w))' : 'v'}; }
/** The most negative number: where a search for a maximum starts. */
const LOWEST = -0x1.fffffep+127f;
var<private> lane: u32;
${sharing(variant, lanes)}
${spec.functions ?? ''}
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) local: u32) {
  ${
    variant === 'invocation'
      ? `let row = linear_workgroup(workgroup, workgroups) * ${workgroup}u + local; lane = 0u;`
      : 'let row = linear_workgroup(workgroup, workgroups); lane = local;'
  }
  if (row >= params.rows) { return; }
  let base = (row / params.inner) * params.columns * params.inner + row % params.inner;
  ${spec.body}
}`,
      grid: foldGrid(ceilDiv(rows, rowsPerWorkgroup), device),
      cost: { flops: spec.cost.flops * share, bytes: spec.cost.bytes * share },
    });
  });
}

function sharing(variant: RowVariant, lanes: number): string {
  if (variant === 'invocation') {
    return /* wgsl */ `
fn row_sum(v: V) -> f32 { return total(v); }
fn row_max(v: V) -> f32 { return highest(v); }`;
  }
  if (variant === 'subgroup') {
    return /* wgsl */ `
fn row_sum(v: V) -> f32 { return subgroupAdd(total(v)); }
fn row_max(v: V) -> f32 { return subgroupMax(highest(v)); }`;
  }
  const tree = (name: string, own: string, combine: string) => /* wgsl */ `
fn ${name}(v: V) -> f32 {
  workgroupBarrier();
  shared_values[lane] = ${own};
  for (var step = ${lanes / 2}u; step > 0u; step >>= 1u) {
    workgroupBarrier();
    if (lane < step) { shared_values[lane] = ${combine}; }
  }
  workgroupBarrier();
  return shared_values[0];
}`;
  return /* wgsl */ `
var<workgroup> shared_values: array<f32, ${lanes}>;
${tree('row_sum', 'total(v)', 'shared_values[lane] + shared_values[lane + step]')}
${tree('row_max', 'highest(v)', 'max(shared_values[lane], shared_values[lane + step])')}`;
}

/** [outer, width, inner] of a tensor reduced over one of its dimensions. */
export function rowShape(shape: readonly number[], dim: number): RowShape {
  const product = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
  return { outer: product(shape.slice(0, dim)), width: shape[dim] ?? 1, inner: product(shape.slice(dim + 1)) };
}
