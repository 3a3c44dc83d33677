/**
 * y[o, i] = sum or maximum over r of x[o, r, i], for x [outer, reduce, inner] in f32; a sum is divided by `divisor`.
 *
 * Every reduction over dimensions is a sequence of these. Sums are taken in blocks (of 16 loads, then of a segment, then
 * over segments), so that rounding errors grow with the block and not with the length; the order of additions depends
 * on problem and device alone. The maximum works on bit patterns in an order that puts NaN above everything, so that
 * it comes out as in PyTorch's amax, and in a subgroup too.
 *
 * Where there are few results for long sums, `reduce` is cut into segments, one more stage sums those, and so on; the
 * partial results live in the scratch bindings `partial0` and `partial1` of `reduceScratch(...)` elements.
 */
import { BINDING_ALIGNMENT, ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inHalf } from '../lib/f16-storage.ts';
import { f32, input, launch, output, require, splitRows, u32 } from '../lib/kernel.ts';
import type { Kernel, Launch } from '../lib/kernel.ts';

export interface ReduceProblem {
  op: 'sum' | 'amax';
  outer: number;
  reduce: number;
  inner: number;
  /** What a sum is divided by in the end: the count for a mean, -1 for a negated sum. */
  divisor?: number;
  /** x is f16 in memory (sums only); partial results and y are f32. */
  half?: boolean;
}

/** How one element type and operation combine in WGSL. */
interface Monoid {
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

/**
 * `order(bits)` maps the bits of an f32 to an unsigned integer that grows with it: -infinity ... infinity, NaN; both
 * zeros are one. 0 is below all of them.
 */
export const orderWgsl = /* wgsl */ `
fn order4(raw: vec4u) -> vec4u {
  let bits = select(raw, vec4u(0u), raw == vec4u(0x80000000u));
  let ordered = select(bits ^ vec4u(0x80000000u), ~bits, (bits >> vec4u(31u)) == vec4u(1u));
  return select(ordered, vec4u(0xffffffffu), (bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}
fn order(bits: u32) -> u32 { return order4(vec4u(bits)).x; }
fn unorder4(ordered: vec4u) -> vec4u {
  return select(~ordered, ordered ^ vec4u(0x80000000u), (ordered >> vec4u(31u)) == vec4u(1u));
}
fn unorder(ordered: u32) -> u32 { return unorder4(vec4u(ordered)).x; }
`;

const monoids: Record<ReduceProblem['op'], Monoid> = {
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

/** Loads of one accumulator before it is added to the next. */
const BLOCK = 16;
/** Most loads of one invocation, and least: a segment is that long. */
const LONGEST = 512;
const SHORTEST = 16;
const WORKGROUP = 64;

type Access =
  /** One invocation an output, its elements `inner` apart. */
  | 'strided'
  /** One invocation four neighbouring outputs. */
  | 'columns'
  /** One invocation an output, its elements neighbours, four a load. */
  | 'along'
  /** One workgroup an output, its elements neighbours. */
  | 'row';

interface Stage {
  readonly access: Access;
  readonly outer: number;
  readonly reduce: number;
  readonly inner: number;
  /** Elements a segment, and segments. */
  readonly segment: number;
  readonly segments: number;
}

/** Fewest rows of so many bytes that end at an aligned offset. */
function alignedRows(bytes: number): number {
  let rows = 1;
  while ((rows * bytes) % BINDING_ALIGNMENT !== 0) rows *= 2;
  return rows;
}

/** The choice of variant, and the stages that a reduction takes. */
export function reduceStages(problem: ReduceProblem, device: DeviceProfile): Stage[] {
  const { outer, inner } = problem;
  const stages: Stage[] = [];
  let reduce = problem.reduce;
  do {
    const element = problem.half && stages.length === 0 ? 2 : 4;
    const bytes = outer * reduce * inner * element;
    const oversize = bytes > device.maxBindingSize;
    let access: Access = 'strided';
    if (inner > 1) access = inner % 4 === 0 ? 'columns' : 'strided';
    else if (!device.cpu && reduce >= 32 && !oversize) access = 'row';
    else if (reduce % 4 === 0) access = 'along';
    const lanes = rowLanes(device);
    const granule = access === 'along' ? 4 : access === 'row' ? lanes : 1;
    const results = (outer * inner) / (access === 'columns' ? 4 : 1);
    const parallel = (device.cpu ? 256 : 16_384) / (access === 'row' ? lanes : 1);
    const loads = ceilDiv(reduce, granule);
    let wanted = Math.max(ceilDiv(loads, LONGEST), Math.min(ceilDiv(parallel, results), ceilDiv(loads, SHORTEST)));
    // One outer index whose bytes exceed a binding is split between segments, at offsets that are aligned on both sides.
    if (oversize && outer === 1)
      wanted = Math.max(wanted, ceilDiv(2 * bytes * alignedRows(inner * element), device.maxBindingSize));
    const segment = ceilDiv(ceilDiv(reduce, wanted), granule) * granule;
    const segments = ceilDiv(reduce, segment);
    stages.push({ access, outer, reduce, inner, segment, segments });
    reduce = segments;
  } while (reduce > 1);
  return stages;
}

/** Elements of the scratch bindings partial0 and partial1; 0 where a binding is not used. */
export function reduceScratch(problem: ReduceProblem, device: DeviceProfile): [number, number] {
  const sizes = reduceStages(problem, device).map(({ outer, segments, inner }) => outer * segments * inner);
  sizes.pop();
  return [sizes[0] ?? 0, sizes[1] ?? 0];
}

/** Bindings x, y, and the scratch. */
export const reduce: Kernel<ReduceProblem> = (problem, device) => {
  const { op, outer, inner, divisor = 1, half = false } = problem;
  require(!half || op === 'sum', op, 'sums, if x is f16', problem);
  require(problem.reduce > 0 && outer > 0 && inner > 0, `${op}`, 'no empty dimension', problem);
  const stages = reduceStages(problem, device);
  return stages.flatMap((stage, i) => {
    const from = i === 0 ? 'x' : `partial${(i - 1) % 2}`;
    const last = i === stages.length - 1;
    const to = last ? 'y' : `partial${i % 2}`;
    const finish = last && op === 'sum';
    const serial = stage.access === 'row' ? rowStage : serialStage;
    return serial(op, stage, { from, to, half: half && i === 0 }, finish ? divisor : 1, device);
  });
};

export interface ColumnSumProblem {
  rows: number;
  columns: number;
  /** x is f16 in memory. */
  half?: boolean;
}

const asReduce = ({ rows, columns, half }: ColumnSumProblem): ReduceProblem => ({
  op: 'sum',
  outer: 1,
  reduce: rows,
  inner: columns,
  half,
});

/** y [columns] = the sum over the rows of x [rows, columns]: bias gradients. Bindings x, y, and the scratch. */
export const columnSum: Kernel<ColumnSumProblem> = (problem, device) => reduce(asReduce(problem), device);

export const columnSumScratch = (problem: ColumnSumProblem, device: DeviceProfile): [number, number] =>
  reduceScratch(asReduce(problem), device);

/** Bindings that a stage reads and writes, and whether it reads f16. */
interface Ends {
  readonly from: string;
  readonly to: string;
  readonly half: boolean;
}

/** One invocation reduces one segment of one output (four, for 'columns'). */
function serialStage(
  op: ReduceProblem['op'],
  stage: Stage,
  { from, to, half }: Ends,
  divisor: number,
  device: DeviceProfile,
): Launch[] {
  const monoid = monoids[op];
  const { access, outer, reduce: length, inner, segment, segments } = stage;
  const vectorIn = access !== 'strided';
  const vectorOut = access === 'columns';
  const width = access === 'along' ? 4 : 1;
  // A binding too large for the device: launches over runs of outer, or of segments where there is one outer.
  const bySegments = outer === 1;
  const perRow = bySegments ? inner : segments * inner;
  const whole = outer * segments * inner * 4 <= device.maxBindingSize;
  const bytes = {
    [from]: (bySegments ? segment : length) * inner * (half ? 2 : 4),
    ...(whole ? {} : { [to]: perRow * 4 }),
  };
  const columns = vectorOut ? inner / 4 : inner;
  const value = monoid.load(`${from}[at + r * params.columns]`, vectorIn);
  const accumulator = vectorIn ? monoid.vector : monoid.scalar;
  const total =
    access === 'along'
      ? monoid.combine(`(${monoid.combine('total.x', 'total.y')})`, `(${monoid.combine('total.z', 'total.w')})`)
      : 'total';
  const launches = splitRows(bySegments ? segments : outer, bytes, device, `${op}.reduce`).map(
    ({ start, rows, ranges }) => {
      const chunkLength = bySegments ? Math.min(length - start * segment, rows * segment) : length;
      const chunkSegments = bySegments ? rows : segments;
      const results = (bySegments ? 1 : rows) * chunkSegments * columns;
      const elements = (bySegments ? 1 : rows) * chunkLength * inner;
      return launch({
        name: `${op}.reduce/${access}`,
        bindings: [
          input(from, vectorIn ? monoid.vector : monoid.scalar),
          output(to, vectorOut ? monoid.vector : monoid.scalar),
        ],
        uniforms: {
          results: u32(results),
          first_result: u32(whole ? (start * perRow) / (vectorOut ? 4 : 1) : 0),
          columns: u32(columns),
          length: u32(chunkLength / width),
          segment: u32(segment / width),
          segments: u32(chunkSegments),
          divisor: f32(divisor),
        },
        ranges: clipped(ranges, from, outer * length * inner * (half ? 2 : 4)),
        wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${monoid.functions}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let result = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  if (result >= params.results) { return; }
  // result = (o, segment, column)
  let row = result / params.columns;
  let first = (row % params.segments) * params.segment;
  let count = min(params.segment, params.length - first);
  let at = (row / params.segments * params.length + first) * params.columns + result % params.columns;
  var total = ${accumulator}(${monoid.identity});
  for (var block = 0u; block < count; block += ${BLOCK}u) {
    var part = ${accumulator}(${monoid.identity});
    let end = min(block + ${BLOCK}u, count);
    for (var r = block; r < end; r++) {
      part = ${monoid.combine('part', value)};
    }
    total = ${monoid.combine('total', 'part')};
  }
  ${to}[result + params.first_result] = ${monoid.store(total, vectorOut)};
}`,
        grid: foldGrid(ceilDiv(results, WORKGROUP), device),
        cost: { flops: elements, bytes: 4 * (elements + results * (vectorOut ? 4 : 1)) },
      });
    },
  );
  return inHalf(launches, half ? [from] : undefined);
}

/** A run of segments may end with a shorter one: its range ends with the tensor. */
function clipped(ranges: Launch['ranges'], name: string, bytes: number): Launch['ranges'] {
  const range = ranges[name];
  if (!range) return ranges;
  const end = Math.min(range.offset + range.size, ceilDiv(bytes, 16) * 16);
  return { ...ranges, [name]: { offset: range.offset, size: end - range.offset } };
}

/** Invocations of a workgroup that shares one row. */
const rowLanes = (device: DeviceProfile): number => device.subgroupSize || WORKGROUP;

/** One workgroup reduces one segment of a row of neighbouring elements. */
function rowStage(
  op: ReduceProblem['op'],
  stage: Stage,
  { from, to, half }: Ends,
  divisor: number,
  device: DeviceProfile,
): Launch[] {
  const monoid = monoids[op];
  const { outer, reduce: length, segment, segments } = stage;
  const lanes = rowLanes(device);
  const subgroup = device.subgroupSize > 0;
  const bytes = { [from]: length * (half ? 2 : 4), [to]: segments * 4 };
  const launches = splitRows(outer, bytes, device, `${op}.reduce`).map(({ rows, ranges }) =>
    launch({
      name: `${op}.reduce/${subgroup ? 'subgroup' : 'workgroup'}`,
      bindings: [input(from, monoid.scalar), output(to, monoid.scalar)],
      uniforms: {
        results: u32(rows * segments),
        length: u32(length),
        segment: u32(segment),
        segments: u32(segments),
        divisor: f32(divisor),
      },
      ranges,
      enables: subgroup ? ['subgroups'] : [],
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${monoid.functions}
${subgroup ? '' : `var<workgroup> shared_values: array<${monoid.scalar}, ${lanes}>;`}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let result = linear_workgroup(workgroup, workgroups);
  if (result >= params.results) { return; }
  let first = (result % params.segments) * params.segment;
  let count = min(params.segment, params.length - first);
  let at = result / params.segments * params.length + first;
  var total = ${monoid.scalar}(${monoid.identity});
  for (var block = lane; block < count; block += ${BLOCK * lanes}u) {
    var part = ${monoid.scalar}(${monoid.identity});
    let end = min(block + ${BLOCK * lanes}u, count);
    for (var r = block; r < end; r += ${lanes}u) {
      part = ${monoid.combine('part', monoid.load(`${from}[at + r]`, false))};
    }
    total = ${monoid.combine('total', 'part')};
  }
  ${subgroup ? `total = ${monoid.subgroup}(total);` : treeWgsl(monoid, lanes)}
  if (lane == 0u) { ${to}[result] = ${monoid.store('total', false)}; }
}`,
      grid: foldGrid(rows * segments, device),
      cost: { flops: rows * length, bytes: 4 * rows * (length + segments) },
    }),
  );
  return inHalf(launches, half ? [from] : undefined);
}

function treeWgsl(monoid: Monoid, lanes: number): string {
  return /* wgsl */ `
  shared_values[lane] = total;
  for (var width = ${lanes / 2}u; width > 0u; width >>= 1u) {
    workgroupBarrier();
    if (lane < width) { shared_values[lane] = ${monoid.combine('shared_values[lane]', 'shared_values[lane + width]')}; }
  }
  total = shared_values[0];`;
}
