import { ceilDiv, foldGrid, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { bytesOfElement, inF16 } from './f16-storage.ts';
import { launch, require, splitRows, u32 } from './kernel.ts';
import type { Binding, Launch, Uniforms } from './kernel.ts';

/**
 * What kernels over x [batch, channels, plane] share that do something by channel: reductions over images and pixels,
 * and maps with a value per channel. Memory is read in vectors where it can be: of four pixels, or, if a plane is one
 * pixel, of four channels.
 */
export interface ChannelShape {
  readonly batch: number;
  readonly channels: number;
  /** Pixels of an image, height * width. */
  readonly plane: number;
  /** Bindings of the size of x that are f16 in memory; all arithmetic is in f32. */
  readonly f16?: readonly string[];
}

export interface ChannelLayout {
  /** What a vector runs along. */
  readonly along: 'pixels' | 'channels' | 'nothing';
  /** WGSL type of an element of x, and of a value per channel. */
  readonly element: 'vec4f' | 'f32';
  readonly unit: 'vec4f' | 'f32';
  /** Units (channels, or vectors of four) of an image, and elements of a unit's plane. */
  readonly units: number;
  readonly items: number;
}

export function channelLayout({ channels, plane }: ChannelShape): ChannelLayout {
  if (plane % 4 === 0) return { along: 'pixels', element: 'vec4f', unit: 'f32', units: channels, items: plane / 4 };
  if (plane === 1 && channels % 4 === 0) {
    return { along: 'channels', element: 'vec4f', unit: 'vec4f', units: channels / 4, items: 1 };
  }
  return { along: 'nothing', element: 'f32', unit: 'f32', units: channels, items: plane };
}

/** The problem itself. Throws `bad-argument` where a dimension is empty. */
export function withoutEmpty<Problem extends ChannelShape>(problem: Problem): Problem {
  const { batch, channels, plane } = problem;
  require(batch > 0 && channels > 0 && plane > 0, 'channels', 'no empty dimension', [batch, channels, plane]);
  return problem;
}

/** Bytes of a tensor [batch, channels, plane] in f32. */
export const tensorBytes = ({ batch, channels, plane }: ChannelShape): number => 4 * batch * channels * plane;

/** Bytes of one image in the binding `array`. */
const imageBytes = ({ channels, plane, f16 }: ChannelShape, array: string): number =>
  bytesOfElement(f16, array) * channels * plane;

/** A part of the batch bound at once, and how its elements are shared out to chunks. */
export interface ReducePart {
  readonly batch: number;
  readonly firstChunk: number;
  readonly chunks: number;
  readonly itemsPerChunk: number;
  readonly ranges: Readonly<Record<string, { readonly offset: number; readonly size: number }>>;
}

/** Most elements that one chunk takes, and one running sum within it, so that rounding errors stay small. */
const LONGEST_CHUNK = 4096;
const LONGEST_SUM = 64;
const GPU_LANES = 64;
const CPU_LANES = 8;

/** Whether the lanes of a workgroup share out the pixels of one channel; otherwise each lane has a channel. */
const sharesPixels = (layout: ChannelLayout, device: DeviceProfile): boolean =>
  !device.cpu && layout.along !== 'channels' && layout.items >= 16;

/** How the sum over images and pixels is cut; `arrays` are the names of the bindings of the size of x. */
export function reduceParts(
  shape: ChannelShape,
  arrays: readonly string[],
  device: DeviceProfile,
  name: string,
): ReducePart[] {
  const layout = channelLayout(shape);
  const lanes = sharesPixels(layout, device) ? GPU_LANES : 1;
  const bytes = Object.fromEntries(arrays.map((array) => [array, imageBytes(shape, array)]));
  const wanted = device.cpu ? ceilDiv(16 * CPU_LANES, layout.units) : ceilDiv(1024 * GPU_LANES, layout.units * lanes);
  let firstChunk = 0;
  return splitRows(shape.batch, bytes, device, name).map(({ rows, ranges }) => {
    const items = rows * layout.items;
    const least = 16 * lanes;
    const itemsPerChunk = Math.min(
      lanes > 1 ? LONGEST_SUM * lanes : LONGEST_CHUNK,
      Math.max(least, ceilDiv(items, wanted)),
    );
    const part = { batch: rows, firstChunk, chunks: ceilDiv(items, itemsPerChunk), itemsPerChunk, ranges };
    firstChunk += part.chunks;
    return part;
  });
}

export const chunkCount = (parts: readonly ReducePart[]): number => parts.reduce((sum, { chunks }) => sum + chunks, 0);

/**
 * A sweep over the elements of a chunk: statements for element `i`, and named sums of an expression each. After the sweep
 * the sums are there under their names, as values of a unit, and `then` is run.
 */
export interface Sweep {
  readonly body?: string;
  readonly sums: Readonly<Record<string, string>>;
  readonly then?: string;
}

export interface ChannelReduceSpec {
  readonly name: string;
  readonly shape: ChannelShape;
  readonly parts: readonly ReducePart[];
  readonly bindings: readonly Binding[];
  /** Names of the bindings of the size of x. */
  readonly arrays: readonly string[];
  readonly uniforms?: Uniforms;
  /** WGSL run once, when the unit `c` is known. */
  readonly prepare?: string;
  readonly sweeps: readonly Sweep[];
  /** Stores what was found for unit `c` and chunk number `chunk`; `count` is how many values the sums of one channel took. */
  readonly write: string;
  readonly flopsPerElement: number;
}

/** One launch a part: sums over the images and pixels of each chunk, for every channel. */
export function channelReduce(spec: ChannelReduceSpec, device: DeviceProfile): Launch[] {
  const layout = channelLayout(spec.shape);
  const shared = sharesPixels(layout, device);
  const lanes = shared || !device.cpu ? GPU_LANES : CPU_LANES;
  const fold = (sum: string): string => {
    const own = layout.along === 'pixels' ? `dot(${sum}_own, vec4f(1.0))` : `${sum}_own`;
    return shared ? `over_lanes(lane, ${own})` : own;
  };
  const sweeps = spec.sweeps.map(({ body, sums, then }) => {
    const names = Object.keys(sums);
    const start = (suffix: string) => names.map((sum) => `var ${sum}_${suffix} = ${layout.element}();`).join(' ');
    const add = Object.entries(sums).map(([sum, value]) => `${sum}_run += ${value};`);
    const statements = [body ?? '', ...add].join(' ');
    const merge = names.map((sum) => `${sum}_own += ${sum}_run;`).join(' ');
    return /* wgsl */ `
  ${start('own')}
  ${shared ? sharedLoop(start('run'), statements, merge) : ownLoop(start('run'), statements, merge)}
  ${names.map((sum) => `let ${sum} = ${fold(sum)};`).join(' ')}
  ${then ?? ''}`;
  });
  const launches = spec.parts.map((part) =>
    launch({
      name: spec.name,
      bindings: spec.bindings,
      uniforms: {
        units: u32(layout.units),
        items_per_plane: u32(layout.items),
        items: u32(part.batch * layout.items),
        items_per_chunk: u32(part.itemsPerChunk),
        first_chunk: u32(part.firstChunk),
        chunks: u32(part.chunks),
        ...spec.uniforms,
      },
      ranges: part.ranges,
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${shared ? overLanesWgsl : ''}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let number = linear_workgroup(workgroup, workgroups)${shared ? '' : ` * ${lanes}u + lane`};
  if (number >= params.units * params.chunks) { return; }
  let c = number % params.units;
  let own_chunk = number / params.units;
  let chunk = params.first_chunk + own_chunk;
  let first = own_chunk * params.items_per_chunk;
  let end = min(first + params.items_per_chunk, params.items);
  let count = f32((end - first) * ${layout.along === 'pixels' ? 4 : 1}u);
  ${spec.prepare ?? ''}
  ${sweeps.join('\n')}
  ${shared ? `if (lane == 0u) { ${spec.write} }` : spec.write}
}`,
      grid: foldGrid(ceilDiv(layout.units * part.chunks * (shared ? GPU_LANES : 1), lanes), device),
      cost: {
        flops: spec.flopsPerElement * part.batch * spec.shape.channels * spec.shape.plane,
        bytes: part.batch * spec.arrays.reduce((sum, name) => sum + imageBytes(spec.shape, name), 0),
      },
    }),
  );
  return inF16(launches, spec.shape.f16);
}

/** A lane's own sweep: runs of elements, each with running sums of its own, whose sums are then added. */
const ownLoop = (start: string, statements: string, merge: string): string => /* wgsl */ `{
    var within = first % params.items_per_plane;
    var i = ((first / params.items_per_plane) * params.units + c) * params.items_per_plane + within;
    for (var run = first; run < end; run += ${LONGEST_SUM}u) {
      ${start}
      for (var item = run; item < min(run + ${LONGEST_SUM}u, end); item++) {
        ${statements}
        // On to the next element, which may be in the next image.
        within += 1u;
        let wraps = within == params.items_per_plane;
        within = select(within, 0u, wraps);
        i += select(1u, 1u + (params.units - 1u) * params.items_per_plane, wraps);
      }
      ${merge}
    }
  }`;

/** The lanes of a workgroup taking turns. */
const sharedLoop = (start: string, statements: string, merge: string): string => /* wgsl */ `{
    ${start}
    for (var item = first + lane; item < end; item += ${GPU_LANES}u) {
      let image = item / params.items_per_plane;
      let i = (image * params.units + c) * params.items_per_plane + item % params.items_per_plane;
      ${statements}
    }
    ${merge}
  }`;

const overLanesWgsl = /* wgsl */ `
var<workgroup> lane_sums: array<f32, ${GPU_LANES}>;
/// The sum over all lanes of the workgroup, for every lane.
fn over_lanes(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  lane_sums[lane] = value;
  for (var half = ${GPU_LANES / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { lane_sums[lane] += lane_sums[lane + half]; }
  }
  return workgroupUniformLoad(&lane_sums[0]);
}
`;

export interface ChannelMapSpec {
  readonly name: string;
  readonly shape: ChannelShape;
  readonly bindings: readonly Binding[];
  /** Names of the bindings of the size of x, and of those with a value per image and channel: both advance with the images. */
  readonly arrays: readonly string[];
  readonly rowArrays?: readonly string[];
  readonly uniforms?: Uniforms;
  /** WGSL run once, when the unit `c` and the row `row` = image * units + c are known. */
  readonly prepare?: string;
  /** Statements for element `i`. */
  readonly body: string;
  readonly flopsPerElement: number;
}

/** y[i] = f(x[i], values of the channel): on a software adapter an invocation takes a run of elements of one channel. */
export function channelMap(spec: ChannelMapSpec, device: DeviceProfile): Launch[] {
  const layout = channelLayout(spec.shape);
  const { channels, plane } = spec.shape;
  const run = device.cpu ? Math.min(16, layout.items) : 1;
  const runs = ceilDiv(layout.items, run);
  const bytes = Object.fromEntries([
    ...spec.arrays.map((name) => [name, imageBytes(spec.shape, name)] as const),
    ...(spec.rowArrays ?? []).map((name) => [name, 4 * channels] as const),
  ]);
  const launches = splitRows(spec.shape.batch, bytes, device, spec.name).map(({ rows: batch, ranges }) =>
    launch({
      name: spec.name,
      bindings: spec.bindings,
      uniforms: {
        units: u32(layout.units),
        items_per_plane: u32(layout.items),
        runs: u32(runs),
        run_length: u32(run),
        count: u32(batch * layout.units * runs),
        ...spec.uniforms,
      },
      ranges,
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let number = linear_workgroup(workgroup, workgroups) * 64u + lane;
  if (number >= params.count) { return; }
  let row = number / params.runs;
  let c = row % params.units;
  let first = (number % params.runs) * params.run_length;
  let end = row * params.items_per_plane + min(first + params.run_length, params.items_per_plane);
  ${spec.prepare ?? ''}
  for (var i = row * params.items_per_plane + first; i < end; i++) {
    ${spec.body}
  }
}`,
      grid: foldGrid(ceilDiv(batch * layout.units * runs, 64), device),
      cost: {
        flops: spec.flopsPerElement * batch * channels * plane,
        bytes: batch * spec.arrays.reduce((sum, name) => sum + imageBytes(spec.shape, name), 0),
      },
    }),
  );
  return inF16(launches, spec.shape.f16);
}

/**
 * Runs of rows that a device can bind, a row being the plane of one image and channel: the channels of `channelReduce` for a
 * batch of one. `arrays` have a plane a row, `values` one element.
 */
export function planeRows(
  { batch, channels, plane, f16 }: ChannelShape,
  arrays: readonly string[],
  values: readonly string[],
  device: DeviceProfile,
  name: string,
) {
  const bytes = [
    ...arrays.map((array) => [array, bytesOfElement(f16, array) * plane]),
    ...values.map((value) => [value, 4]),
  ];
  return splitRows(batch * channels, Object.fromEntries(bytes) as Record<string, number>, device, name);
}
