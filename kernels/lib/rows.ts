import { ceilDiv, CPU_LANES, foldGrid, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { launch, splitRows, u32 } from './kernel.ts';
import type { Binding, BindingRange, Cost, Launch, LaunchSpec, Uniforms } from './kernel.ts';
import { MAX_STRAIGHT, WORKGROUP } from './row-plan.ts';
import type { RowPlan, RowShape } from './row-plan.ts';

/*
 * What kernels that reduce over rows share: a formula is written once, as WGSL between the loops over a row, for all of the
 * variants in row-plan.ts.
 */

/**
 * WGSL: `body` for every element (or vector) of the row that is this lane's: `c` is its column, `i` its index and, in plans
 * that keep it, `k` its place in the arrays. For bodies that load or store; see `eachCached`.
 */
export function eachColumn(plan: RowPlan, body: string): string {
  const { lanes, cached, rowsPerWorkgroup, columns } = plan;
  if (plan.straight) return eachCached(plan, body);
  const place = `let c = k * ${lanes}u + lane; let i = base + c * params.inner;`;
  if (rowsPerWorkgroup > 0) return `for (var k = 0u; k < loads; k++) { ${place} ${body} }`;
  if (cached === 0)
    return `for (var c = lane; c < params.columns; c += ${lanes}u) { let i = base + c * params.inner; ${body} }`;
  const inside = columns % lanes === 0 ? body : `if (c < params.columns) { ${body} }`;
  return `for (var k = 0u; k < ${cached}u; k++) { ${place} ${inside} }`;
}

/** The same for bodies that only compute with what the lane keeps: straight code on a processor. */
export const eachCached = (plan: RowPlan, body: string): string =>
  plan.rowsPerWorkgroup > 0 ? straight(plan, () => body) : eachColumn(plan, body);

/** Whether the last vector of an unaligned row may be load `k` of a lane: rows touch `columns` vectors or one less. */
const mayEndAt = ({ lanes, columns }: RowPlan, k: number): boolean => (k + 1) * lanes > columns - 2;

function straight(plan: RowPlan, body: (k: number) => string): string {
  const { lanes, cached, columns, unaligned } = plan;
  return Array.from({ length: cached }, (_, k) => {
    const text = `{ const k = ${k}u; let c = ${k * lanes}u + lane; let i = base + c; ${unaligned ? insideOf(plan, k) : ''} ${body(k)} }`;
    const isPartial = unaligned ? mayEndAt(plan, k) : (k + 1) * lanes > columns;
    return isPartial ? `if (${k * lanes}u + lane < ${unaligned ? 'row_loads' : 'params.columns'}) ${text}` : text;
  }).join('\n  ');
}

/** WGSL: which elements of load `k` belong to the row. */
function insideOf(plan: RowPlan, k: number): string {
  const masks = [
    ...(k === 0 ? ['(in_first | vec4<bool>(lane > 0u))'] : []),
    ...(mayEndAt(plan, k) ? ['(in_last | vec4<bool>(c + 1u < row_loads))'] : []),
  ];
  return `let inside = ${masks.join(' & ') || 'vec4<bool>(true)'};`;
}

/** WGSL, in loops over a plan that may be unaligned: `value`, or `neutral` for elements of other rows. */
export const own = ({ unaligned }: RowPlan, value: string, neutral: string): string =>
  unaligned ? `select(V(${neutral}), ${value}, inside)` : value;

/**
 * The same as `eachColumn` for the one load that a kernel begins a row with: a few of them are straight code on a processor
 * too, a fifth faster for half as much compiling again. (Not several loads: with no array left that a loop indexes, all of
 * them become registers, and compiling takes three times as long.)
 */
export const eachLoad = (plan: RowPlan, body: string): string =>
  plan.cached <= MAX_STRAIGHT ? eachCached(plan, body) : eachColumn(plan, body);

/** WGSL: declares the array in which a lane keeps values of type V, named `<name>_cached`; nothing if the plan keeps none. */
export const declareCached = ({ cached }: RowPlan, name: string): string =>
  cached > 0 ? `var ${name}_cached: array<V, ${cached}>;` : '';
/** WGSL, in `eachColumn`: keeps `value` as the row's `name`. */
export const cache = ({ cached }: RowPlan, name: string, value: string): string =>
  cached > 0 ? `${name}_cached[k] = ${value};` : '';
/** WGSL: what is kept of the array `name`, or what lies in it. */
export const valueOf = ({ cached }: RowPlan, name: string): string => (cached > 0 ? `${name}_cached[k]` : `${name}[i]`);
/** WGSL: the same of an array with one row, which the spec lists as `perColumn`. */
export const columnOf = ({ rowsPerWorkgroup }: RowPlan, name: string): string =>
  rowsPerWorkgroup > 0 ? `${name}_cached[k]` : `${name}[c]`;

/** What `store` writes to a binding, by its name: WGSL of `result`. */
type Targets = Readonly<Record<string, string>>;

/**
 * WGSL: `result`, which is `value`, to the whole row of each target; of an unaligned one as it is. Array `kept` may be
 * overwritten on the way. `late` is what is added that has to be loaded, such as ` + other[i]`.
 */
export function store(plan: RowPlan, targets: Targets, value: string, kept: string, late = ''): string {
  const writes = Object.entries(targets).map(([name, result]) => `${name}[i] = ${result};`);
  if (plan.unaligned) return storeUnaligned(plan, writes.join(' '), `${value}${late}`);
  const write = (result: string): string => `let result = ${result}${late}; ${writes.join(' ')}`;
  if (plan.rowsPerWorkgroup === 0) return eachColumn(plan, write(value));
  if (plan.cached <= MAX_STRAIGHT) return eachCached(plan, write(value));
  return `${eachCached(plan, `${kept}_cached[k] = ${value};`)}
  ${eachColumn(plan, write(`${kept}_cached[k]`))}`;
}

/** A vector that two rows share is stored with the second of them, with the first one's part from `carry`. */
function storeUnaligned(plan: RowPlan, write: string, value: string): string {
  return `${straight(plan, (k) => {
    const result = k === 0 ? `select(carry, ${value}, in_first | vec4<bool>(lane > 0u))` : value;
    const ends = `if (c < row_stores) { ${write} } if (c + 1u == row_loads) { carry = result; }`;
    return `let result = ${result}; ${mayEndAt(plan, k) ? ends : write}`;
  })}
  carry = subgroupShuffle(carry, (row_loads - 1u) % ${plan.lanes}u);`;
}

/** Workgroups of a plan of several rows per workgroup. */
export const workgroupsOf = ({ rowsPerWorkgroup }: RowPlan, rows: number): number => ceilDiv(rows, rowsPerWorkgroup);

export interface RowKernelSpec {
  name: string;
  shape: RowShape;
  plan: RowPlan;
  bindings: readonly Binding[];
  /** Bytes that a binding advances with each outer slice; bindings that are the same for all rows are left out. */
  bytesPerSlice: Readonly<Record<string, number>>;
  /** Bindings of one row of V that all rows meet: read as `columnOf(plan, name)`. */
  perColumn?: readonly string[];
  uniforms?: Uniforms;
  functions?: string;
  /**
   * Statements for one row, executed by each of its lanes: `row`, `lane`, `base` (index of the row's first element),
   * `row_sum(V)`, `row_max(V)` (over the row, known to all lanes), `total(V)`, `highest(V)` (within a vector), `LOWEST`.
   * `V` is f32 or vec4f; `params.columns` counts loads a row, `params.width` elements; `columns_of(c)` are the columns of
   * the elements of load `c`.
   */
  body: string;
  /** Statements before the first row of a workgroup and after its last, in plans of several rows per workgroup; `group` is its number. */
  before?: string;
  after?: string;
  /** Of all rows. */
  cost: Cost;
  workspace?: LaunchSpec['workspace'];
}

export function rowKernel(spec: RowKernelSpec, device: DeviceProfile): Launch[] {
  const { shape, plan } = spec;
  const { sharing, lanes, vector, rowsPerWorkgroup, unaligned } = plan;
  const workgroup = sharing === 'invocation' ? (device.cpu ? CPU_LANES : WORKGROUP) : lanes;
  const rowsEach = rowsPerWorkgroup || workgroup / lanes;
  const suffix = `${vector === 4 ? '4' : ''}${unaligned ? '_unaligned' : rowsPerWorkgroup > 0 ? '_cached' : ''}`;
  return splitRows(shape.outer, spec.bytesPerSlice, device, spec.name).map(({ rows: slices, ranges }) => {
    const rows = slices * shape.inner;
    const share = slices / shape.outer;
    return launch({
      name: `${spec.name}/${sharing}${suffix}`,
      bindings: spec.bindings,
      workspace: spec.workspace,
      ranges: unaligned ? wholeVectors(ranges) : ranges,
      uniforms: {
        rows: u32(rows),
        width: u32(shape.width),
        columns: u32(plan.columns),
        inner: u32(shape.inner),
        ...(rowsPerWorkgroup > 0 ? { rows_per_workgroup: u32(rowsPerWorkgroup) } : {}),
        ...spec.uniforms,
      },
      enables: sharing === 'subgroup' ? ['subgroups'] : [],
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
${rowFunctions(plan)}
${spec.functions ?? ''}
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) local: u32) {
  ${rowsPerWorkgroup > 0 ? severalRows(spec) : oneRow(spec, workgroup)}
}`,
      grid: foldGrid(ceilDiv(rows, rowsEach), device),
      cost: { flops: spec.cost.flops * share, bytes: spec.cost.bytes * share },
    });
  });
}

const oneRow = ({ plan, body }: RowKernelSpec, workgroup: number): string => /* wgsl */ `
  ${
    plan.sharing === 'invocation'
      ? `let row = linear_workgroup(workgroup, workgroups) * ${workgroup}u + local; lane = 0u;`
      : 'let row = linear_workgroup(workgroup, workgroups); lane = local;'
  }
  if (row >= params.rows) { return; }
  let base = (row / params.inner) * params.columns * params.inner + row % params.inner;
  ${body}`;

const severalRows = ({ plan, body, perColumn = [], before = '', after = '' }: RowKernelSpec): string => /* wgsl */ `
  let group = linear_workgroup(workgroup, workgroups);
  lane = local;
  let first = group * params.rows_per_workgroup;
  if (first >= params.rows) { return; }
  ${plan.straight ? '' : `let loads = (params.columns - lane + ${plan.lanes - 1}u) / ${plan.lanes}u;`}
  ${perColumn.map((name) => `var ${name}_cached: array<V, ${plan.cached}>;`).join(' ')}
  ${perColumn.length > 0 ? `{ let base = 0u; ${eachColumn(plan, perColumn.map((name) => `${name}_cached[k] = ${name}[c];`).join(' '))} }` : ''}
  ${before}
  ${plan.unaligned ? 'var carry = vec4f();' : ''}
  let rows_here = min(params.rows_per_workgroup, params.rows - first);
  for (var nth = 0u; nth < rows_here; nth++) {
    let row = first + nth;
    ${plan.unaligned ? unalignedRow : 'let base = row * params.columns;'}
    ${body}
  }
  ${after}`;

const unalignedRow = /* wgsl */ `
    let begin = row * params.width;
    let end = begin + params.width;
    let base = begin / 4u;
    let row_loads = (end + 3u) / 4u - base;
    let row_stores = select(end, end + 3u, row + 1u == params.rows) / 4u - base;
    let in_first = columns_of(0u) >= vec4u(begin % 4u);
    let in_last = columns_of(0u) <= vec4u((end - 1u) % 4u);`;

/** The last row may end within a vector; what follows it in memory belongs to its tensor. */
const wholeVectors = (ranges: Readonly<Record<string, BindingRange>>): Record<string, BindingRange> =>
  Object.fromEntries(
    Object.entries(ranges).map(([name, { offset, size }]) => [name, { offset, size: 16 * ceilDiv(size, 16) }]),
  );

function rowFunctions({ sharing, lanes }: RowPlan): string {
  if (sharing === 'invocation') {
    return /* wgsl */ `
fn row_sum(v: V) -> f32 { return total(v); }
fn row_max(v: V) -> f32 { return highest(v); }`;
  }
  if (sharing === 'subgroup') {
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
