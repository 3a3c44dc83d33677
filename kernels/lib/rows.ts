import { ceilDiv, CPU_LANES, foldGrid, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { launch, splitRows, u32 } from './kernel.ts';
import type { Binding, BindingRange, Cost, Launch, Uniforms } from './kernel.ts';

/*
 * What kernels that reduce over rows share (softmax, layer norm, losses): who works on a row, and how those who do add up
 * what they found. The formula is written once, for all of these variants:
 *
 *     subgroup     one subgroup a row, results shared by subgroup operations
 *     workgroup    one workgroup a row, results shared through workgroup memory: where subgroups have no fixed size
 *     invocation   one invocation a row: for rows that are not contiguous, or too long for a processor's lanes to keep
 *
 * A row is `width` elements, `inner` apart: the tensor is [outer, width, inner] and has outer * inner rows. Contiguous
 * rows of a multiple of four elements are read as vec4f.
 *
 * A lane may keep its part of a row, so that each element is loaded once. On a processor that pays twofold. An element
 * that each lane loads for itself costs ten instructions and a branch there, so a long loop of loads must not be unrolled;
 * and what lies in a private array that such a loop indexes stays in memory, where straight arithmetic reads it as cheaply
 * as a register, and the compiler has little to do.
 *
 * Rows of no multiple of four elements do not start at vectors, which two of them may share; four rows together do. A
 * processor still reads and writes vectors where rows are `ragged`: what a vector holds of other rows is masked when read
 * (`own`), and carried over to the next row when written, so that only whole vectors are stored, each by one lane. All of
 * it is straight code, with two thirds of the instructions of single elements and three times their compile time.
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
  /** Loads a lane, if it keeps them, in arrays indexed by `k`; else 0. */
  readonly held: number;
  /** Rows of a workgroup, one after another, where lanes keep what is the same for all rows (`perColumn`); else 0. */
  readonly turns: number;
  /** Loads of the row; of a ragged one, the most. */
  readonly columns: number;
  /** Whether rows begin and end within vectors. */
  readonly ragged: boolean;
}

/** Invocations of a workgroup in the variant `workgroup`, and rows of one in the variant `invocation` on a GPU. */
const WORKGROUP = 64;
/** Most loads that a lane of a GPU keeps: they are registers. */
const MAX_HELD = 32;
/** Most elements that a lane of a processor keeps: the arithmetic on them is unrolled. */
const MAX_HELD_CPU = 96;
/** Most loads, or stores, that are straight code on a processor. */
const MAX_STRAIGHT = 8;
/**
 * Rows of a processor's workgroup, in fours: few enough to keep many cores busy, enough to make up for what comes before
 * the first.
 */
const [MIN_TURNS, MAX_TURNS, CPU_WORKGROUPS] = [8, 32, 64];

/** Narrowest ragged row: its first and its last vector are two. */
const MIN_RAGGED = 16;

/**
 * `hold`: whether lanes keep their parts of a row if they can; in a kernel that also masks with `own`, they may be ragged
 * if that is 'ragged'.
 */
export function planRows(
  { outer, width, inner }: RowShape,
  device: DeviceProfile,
  hold: boolean | 'ragged' = false,
): RowPlan {
  const most = ceilDiv(width + 3, 4);
  const ragged =
    hold === 'ragged' &&
    device.cpu &&
    device.subgroupSize > 0 &&
    inner === 1 &&
    width % 4 !== 0 &&
    width >= MIN_RAGGED &&
    ceilDiv(most, device.subgroupSize) <= MAX_STRAIGHT;
  const vector = ragged || (inner === 1 && width % 4 === 0) ? 4 : 1;
  const columns = ragged ? most : width / vector;
  const plan = { vector, columns, ragged } as const;
  const perLane = ceilDiv(columns, Math.max(1, device.subgroupSize));
  if (device.cpu && device.subgroupSize > 0 && inner === 1 && hold !== false && perLane * vector <= MAX_HELD_CPU) {
    const turns = Math.min(MAX_TURNS, Math.max(MIN_TURNS, 4 * ceilDiv(outer, 4 * CPU_WORKGROUPS)));
    return { ...plan, variant: 'subgroup', lanes: device.subgroupSize, held: perLane, turns };
  }
  const variant = chooseVariant(inner, vector, device);
  const lanes = variant === 'subgroup' ? device.subgroupSize : variant === 'workgroup' ? WORKGROUP : 1;
  const loads = ceilDiv(columns, lanes);
  const held = hold !== false && !device.cpu && lanes > 1 && loads <= MAX_HELD ? loads : 0;
  return { ...plan, variant, lanes, held, turns: 0 };
}

function chooseVariant(inner: number, vector: 1 | 4, device: DeviceProfile): RowVariant {
  if (inner > 1) return 'invocation';
  if (!device.cpu) return device.subgroupSize > 0 ? 'subgroup' : 'workgroup';
  // A processor's lane loads a vec4f at once from anywhere, so nothing is gained by sharing a row that is not kept; with
  // scalar loads, the operations between them are better spread over lanes.
  return device.subgroupSize > 0 && vector === 1 ? 'subgroup' : 'invocation';
}

/**
 * WGSL: `body` for every element (or vector) of the row that is this lane's: `c` is its column, `i` its index and, in plans
 * that keep it, `k` its place in the arrays. For bodies that load or store; see `eachHeld`.
 */
export function eachColumn(plan: RowPlan, body: string): string {
  const { lanes, held, turns, columns, ragged } = plan;
  if (ragged) return eachHeld(plan, body);
  const place = `let c = k * ${lanes}u + lane; let i = base + c * params.inner;`;
  if (turns > 0) return `for (var k = 0u; k < loads; k++) { ${place} ${body} }`;
  if (held === 0)
    return `for (var c = lane; c < params.columns; c += ${lanes}u) { let i = base + c * params.inner; ${body} }`;
  const inside = columns % lanes === 0 ? body : `if (c < params.columns) { ${body} }`;
  return `for (var k = 0u; k < ${held}u; k++) { ${place} ${inside} }`;
}

/** The same for bodies that only compute with what the lane keeps: straight code on a processor. */
export const eachHeld = (plan: RowPlan, body: string): string =>
  plan.turns > 0 ? straight(plan, () => body) : eachColumn(plan, body);

/** Whether the last vector of a ragged row may be load `k` of a lane: rows touch `columns` vectors or one less. */
const mayEndAt = ({ lanes, columns }: RowPlan, k: number): boolean => (k + 1) * lanes > columns - 2;

function straight(plan: RowPlan, body: (k: number) => string): string {
  const { lanes, held, columns, ragged } = plan;
  return Array.from({ length: held }, (_, k) => {
    const text = `{ const k = ${k}u; let c = ${k * lanes}u + lane; let i = base + c; ${ragged ? insideOf(plan, k) : ''} ${body(k)} }`;
    const isPartial = ragged ? mayEndAt(plan, k) : (k + 1) * lanes > columns;
    return isPartial ? `if (${k * lanes}u + lane < ${ragged ? 'row_loads' : `${columns}u`}) ${text}` : text;
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

/** WGSL, in loops over a plan that may be ragged: `value`, or `neutral` for elements of other rows. */
export const own = ({ ragged }: RowPlan, value: string, neutral: string): string =>
  ragged ? `select(V(${neutral}), ${value}, inside)` : value;

/**
 * The same as `eachColumn` for the one load that a kernel begins a row with: a few of them are straight code on a processor
 * too, a fifth faster for half as much compiling again. (Not several loads: with no array left that a loop indexes, all of
 * them become registers, and compiling takes three times as long.)
 */
export const eachLoad = (plan: RowPlan, body: string): string =>
  plan.held <= MAX_STRAIGHT ? eachHeld(plan, body) : eachColumn(plan, body);

/** WGSL: declares the array in which a lane keeps values of type V, named `<name>_held`; nothing if the plan keeps none. */
export const declareHeld = ({ held }: RowPlan, name: string): string =>
  held > 0 ? `var ${name}_held: array<V, ${held}>;` : '';
/** WGSL, in `eachColumn`: keeps `value` as the row's `name`. */
export const hold = ({ held }: RowPlan, name: string, value: string): string =>
  held > 0 ? `${name}_held[k] = ${value};` : '';
/** WGSL: what is kept of the array `name`, or what lies in it. */
export const valueOf = ({ held }: RowPlan, name: string): string => (held > 0 ? `${name}_held[k]` : `${name}[i]`);
/** WGSL: the same of an array with one row, which the spec lists as `perColumn`. */
export const columnOf = ({ turns }: RowPlan, name: string): string => (turns > 0 ? `${name}_held[k]` : `${name}[c]`);

/**
 * WGSL: `target[i] = value` for the whole row and each target. Array `kept` may be overwritten on the way. `late` is what is
 * added that has to be loaded, such as ` + other[i]`.
 */
export function store(plan: RowPlan, targets: readonly string[], value: string, kept: string, late = ''): string {
  if (plan.ragged) return storeRagged(plan, targets, `${value}${late}`);
  const write = (result: string): string =>
    `let result = ${result}${late}; ${targets.map((target) => `${target}[i] = result;`).join(' ')}`;
  if (plan.turns === 0) return eachColumn(plan, write(value));
  if (plan.held <= MAX_STRAIGHT) return eachHeld(plan, write(value));
  return `${eachHeld(plan, `${kept}_held[k] = ${value};`)}
  ${eachColumn(plan, write(`${kept}_held[k]`))}`;
}

/** A vector that two rows share is stored with the second of them, which `carry` brings the first one's part. */
function storeRagged(plan: RowPlan, targets: readonly string[], value: string): string {
  const write = targets.map((target) => `${target}[i] = result;`).join(' ');
  return `${straight(plan, (k) => {
    const result = k === 0 ? `select(carry, ${value}, in_first | vec4<bool>(lane > 0u))` : value;
    const ends = `if (c < row_stores) { ${write} } if (c + 1u == row_loads) { carry = result; }`;
    return `let result = ${result}; ${mayEndAt(plan, k) ? ends : write}`;
  })}
  carry = subgroupShuffle(carry, (row_loads - 1u) % ${plan.lanes}u);`;
}

/** Workgroups of a plan with turns. */
export const workgroupsOf = ({ turns }: RowPlan, rows: number): number => ceilDiv(rows, turns);

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
  /** Statements before the first row of a workgroup and after its last, in plans with turns; `group` is its number. */
  before?: string;
  after?: string;
  /** Of all rows. */
  cost: Cost;
}

export function rowKernel(spec: RowKernelSpec, device: DeviceProfile): Launch[] {
  const { shape, plan } = spec;
  const { variant, lanes, vector, turns, ragged } = plan;
  const workgroup = variant === 'invocation' ? (device.cpu ? CPU_LANES : WORKGROUP) : lanes;
  const rowsPerWorkgroup = turns > 0 ? turns : workgroup / lanes;
  const suffix = `${vector === 4 ? '4' : ''}${ragged ? '_ragged' : turns > 0 ? '_held' : ''}`;
  return splitRows(shape.outer, spec.bytesPerSlice, device, spec.name).map(({ rows: slices, ranges }) => {
    const rows = slices * shape.inner;
    const share = slices / shape.outer;
    return launch({
      name: `${spec.name}/${variant}${suffix}`,
      bindings: spec.bindings,
      ranges: ragged ? wholeVectors(ranges) : ranges,
      uniforms: {
        rows: u32(rows),
        width: u32(shape.width),
        columns: u32(plan.columns),
        inner: u32(shape.inner),
        ...(turns > 0 ? { turns: u32(turns) } : {}),
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
  ${turns > 0 ? inTurns(spec) : alone(spec, workgroup)}
}`,
      grid: foldGrid(ceilDiv(rows, rowsPerWorkgroup), device),
      cost: { flops: spec.cost.flops * share, bytes: spec.cost.bytes * share },
    });
  });
}

const alone = ({ plan, body }: RowKernelSpec, workgroup: number): string => /* wgsl */ `
  ${
    plan.variant === 'invocation'
      ? `let row = linear_workgroup(workgroup, workgroups) * ${workgroup}u + local; lane = 0u;`
      : 'let row = linear_workgroup(workgroup, workgroups); lane = local;'
  }
  if (row >= params.rows) { return; }
  let base = (row / params.inner) * params.columns * params.inner + row % params.inner;
  ${body}`;

const inTurns = ({ plan, body, perColumn = [], before = '', after = '' }: RowKernelSpec): string => /* wgsl */ `
  let group = linear_workgroup(workgroup, workgroups);
  lane = local;
  let first = group * params.turns;
  if (first >= params.rows) { return; }
  let loads = (params.columns - lane + ${plan.lanes - 1}u) / ${plan.lanes}u;
  ${perColumn.map((name) => `var ${name}_held: array<V, ${plan.held}>;`).join(' ')}
  ${perColumn.length > 0 ? `{ let base = 0u; ${eachColumn(plan, perColumn.map((name) => `${name}_held[k] = ${name}[c];`).join(' '))} }` : ''}
  ${before}
  ${plan.ragged ? 'var carry = vec4f();' : ''}
  let turns = min(params.turns, params.rows - first);
  for (var turn = 0u; turn < turns; turn++) {
    let row = first + turn;
    ${plan.ragged ? raggedRow : 'let base = row * params.columns;'}
    ${body}
  }
  ${after}`;

const raggedRow = /* wgsl */ `
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
