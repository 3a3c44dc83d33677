import type { Taps } from './problem.ts';
import { imageTile, tilingName } from './tiles.ts';
import type { Access, Tiling } from './tiles.ts';
import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bytesOfElement, inF16 } from '../lib/f16-storage.ts';
import { i32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Binding, BindingRange, Cost, Launch, Uniforms } from '../lib/kernel.ts';
import { laneRows } from './lane-rows.ts';
import type { LaneRows } from './lane-rows.ts';
import { storeEnded } from './problem.ts';
import { range } from '../lib/unroll.ts';

interface Plane {
  readonly height: number;
  readonly width: number;
}

/**
 * A product of weights and pixels gathered from a source image, which is what both passes of image-passes.ts are:
 *   target[b, g, r, u * step + phase] = sum over k and taps of weight(g, r, k, tap) * source[b, g, k, u * sourceStep + origin + tap * direction]
 * An invocation computes four pixels of several channels (rows) of one group in registers; the weights are the same for all
 * lanes of a workgroup. Sums run in f32.
 *
 * Accesses: `plane` where 1x1 kernels map whole vectors of pixels to themselves; `rows` for kernels three wide at
 * stride 1, which use each loaded vector for three taps; `pixel` for images of one pixel, where four source channels
 * are one vector; `general` for all else. Their tiles are in tiles.ts.
 */
export interface ConvProduct {
  readonly name: string;
  readonly batch: number;
  readonly groups: number;
  /** Source and target channels of a group. */
  readonly depth: number;
  readonly rows: number;
  readonly source: Plane;
  readonly target: Plane;
  /** Of their bindings. */
  readonly names: { readonly source: 'x' | 'dy'; readonly target: 'y' | 'dx' };
  /** Pixels of this phase. */
  readonly pixels: Plane;
  readonly phase: { readonly step: number; readonly y: number; readonly x: number };
  readonly sourceStep: number;
  readonly direction: 1 | -1;
  readonly tapsY: Taps;
  readonly tapsX: Taps;
  readonly kernelWidth: number;
  /** Elements from one group, row or source channel to the next. */
  readonly weight: { readonly group: number; readonly row: number; readonly depth: number };
  readonly bias: boolean;
  /** Ends with the sum with a tensor like the target, and with a ReLU. */
  readonly shortcut: boolean;
  readonly relu: boolean;
  readonly ranges: Readonly<Partial<Record<'source' | 'target' | 'shortcut', BindingRange>>>;
  /** Bindings that are f16 in memory. */
  readonly f16: readonly string[];
}

/** Pixels of the target that are computed, of all images. */
export const positionsOf = ({ batch, pixels }: ConvProduct): number => batch * pixels.height * pixels.width;

/** Where the weight of the first tap lies, and how far it is from one tap to the next. */
export const weightUniforms = ({ tapsX, tapsY, kernelWidth, weight }: ConvProduct): Uniforms => ({
  first_tap: u32(tapsY.first * kernelWidth + tapsX.first),
  tap_y: u32(tapsY.step * kernelWidth),
  tap_x: u32(tapsX.step),
  weight_group: u32(weight.group),
  weight_row: u32(weight.row),
  weight_depth: u32(weight.depth),
});

/** Source, target and weights cross memory once. */
export function productCost(p: ConvProduct): Cost {
  const weights = p.groups * p.rows * p.depth * p.tapsY.count * p.tapsX.count;
  const bytesOf = (binding: string, elements: number): number => bytesOfElement(p.f16, binding) * elements;
  return {
    flops: 2 * positionsOf(p) * weights,
    bytes:
      bytesOf(p.names.source, p.batch * p.groups * p.depth * p.source.height * p.source.width) +
      bytesOf(p.names.target, positionsOf(p) * p.groups * p.rows) +
      (p.shortcut ? 4 * positionsOf(p) * p.groups * p.rows : 0) +
      bytesOf('weight', weights),
  };
}

/** Pixels of the target are where the source has them. */
const isSamePlane = ({ source, target, sourceStep, phase }: ConvProduct): boolean =>
  source.height === target.height && source.width === target.width && sourceStep === 1 && phase.step === 1;

/** 1x1 kernels that map whole vectors of pixels to themselves. */
export function isDense(p: ConvProduct): boolean {
  const { tapsY, tapsX } = p;
  const isOneTap = tapsY.count === 1 && tapsX.count === 1 && tapsY.origin === 0 && tapsX.origin === 0;
  return isSamePlane(p) && isOneTap && (p.source.height * p.source.width) % 4 === 0;
}

function accessOf(p: ConvProduct): Access {
  const sourcePlane = p.source.height * p.source.width;
  const targetPlane = p.target.height * p.target.width;
  const oneTap = p.tapsY.count === 1 && p.tapsX.count === 1;
  if (sourcePlane === 1 && targetPlane === 1 && oneTap && p.depth % 4 === 0) return 'pixel';
  if (isDense(p)) return 'plane';
  const threeWide = p.tapsX.count === 3 && p.tapsX.origin === -p.direction;
  if (isSamePlane(p) && threeWide && p.source.width % 4 === 0) return 'rows';
  return 'general';
}

export function usualTiling(p: ConvProduct, device: DeviceProfile): Tiling {
  const access = accessOf(p);
  return { access, tile: imageTile(access, p.rows, device) };
}

/** What the end of a product reads. */
export const endBindings = ({ bias, shortcut }: ConvProduct, element: 'f32' | 'vec4f'): Binding[] => [
  ...(bias ? [input('bias')] : []),
  ...(shortcut ? [input('shortcut', element)] : []),
];

/** Ranges by the names of the bindings. */
export function rangesOf({ ranges: { source, target, shortcut }, names }: ConvProduct): Launch['ranges'] {
  return {
    ...(source && { [names.source]: source }),
    ...(target && { [names.target]: target }),
    ...(shortcut && { shortcut }),
  };
}

/** Bindings by `names`, weight, and bias and shortcut if it has them. */
export function convProduct(p: ConvProduct, tiling: Tiling, device: DeviceProfile): Launch[] {
  const { access, tile } = tiling;
  const vector = access === 'plane' || access === 'rows';
  const lanes = laneRows(tile.rows, device);
  const positions = positionsOf(p);
  const columnBlocks = ceilDiv(ceilDiv(positions, 4), lanes.lanes * tile.columns);
  const groupTiles = ceilDiv(p.rows, tile.rows);
  const workgroups = columnBlocks * groupTiles * p.groups;
  const sourcePlane = p.source.height * p.source.width;
  const launches = [
    launch({
      name: `${p.name}/${tilingName(tiling)}`,
      bindings: [
        input(p.names.source, access === 'general' ? 'f32' : 'vec4f'),
        input('weight'),
        output(p.names.target, vector ? 'vec4f' : 'f32'),
        ...endBindings(p, vector ? 'vec4f' : 'f32'),
      ],
      uniforms: {
        positions: u32(positions),
        workgroups: u32(workgroups),
        groups: u32(p.groups),
        group_tiles: u32(groupTiles),
        depth: u32(p.depth),
        rows: u32(p.rows),
        source_height: i32(p.source.height),
        source_width: i32(p.source.width),
        source_plane: u32(sourcePlane),
        target_plane: u32(p.target.height * p.target.width),
        target_width: u32(p.target.width),
        pixels: u32(p.pixels.height * p.pixels.width),
        pixel_width: u32(p.pixels.width),
        phase_step: u32(p.phase.step),
        phase_y: u32(p.phase.y),
        phase_x: u32(p.phase.x),
        source_step: i32(p.sourceStep),
        origin_y: i32(p.tapsY.origin),
        origin_x: i32(p.tapsX.origin),
        direction: i32(p.direction),
        taps_y: i32(p.tapsY.count),
        taps_x: i32(p.tapsX.count),
        ...weightUniforms(p),
      },
      enables: lanes.enables,
      wgsl: shader(access, tile.rows, tile.columns, lanes, p),
      grid: foldGrid(workgroups, device),
      cost: productCost(p),
      ranges: rangesOf(p),
    }),
  ];
  return inF16(launches, p.f16);
}

/** Everything but the loop over taps and source channels, which the access decides. */
function shader(access: Access, tile: number, vectors: number, lanes: LaneRows, p: ConvProduct): string {
  const rows = range(tile);
  const { index, loop, store } = loops[access](tile, lanes, p, vectors);
  return /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(${lanes.lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let number = linear_workgroup(workgroup, workgroups);
  if (number >= params.workgroups) { return; }
  // Channels vary fastest, so that neighbouring workgroups read the same pixels.
  let tiles = params.groups * params.group_tiles;
  let block = number / tiles;
  let tile = number % tiles;
  let group = tile / params.group_tiles;
  let first_row = (tile % params.group_tiles) * ${tile}u;
  let column = block * ${lanes.lanes}u + lane;
  let position = min(vec4u(column * 4u) + vec4u(0u, 1u, 2u, 3u), vec4u(params.positions - 1u));
  ${lanes.prepare((r) => `min(first_row + ${r}, params.rows - 1u) * params.weight_row`)}
  let weight_group = group * params.weight_group + params.first_tap;
  let source_channels = params.groups * params.depth;
  let target_channel = group * params.rows + first_row;
  let target_channels = params.groups * params.rows;
  ${rows.map((r) => `var sum${r} = vec4f(${p.bias ? `bias[min(target_channel + ${r}u, target_channels - 1u)]` : ''});`).join('\n  ')}
  ${index}
  ${loop}
  ${rows.map((r) => `if (first_row + ${r}u < params.rows) { ${store(r)} }`).join('\n  ')}
}`;
}

interface AccessCode {
  readonly index: string;
  readonly loop: string;
  readonly store: (row: number) => string;
}

/** sum0.. += weights * value for one tap and source channel; `at` is the weight's place before the row's offset. */
const multiply = (tile: number, lanes: LaneRows, at: string, value: string, name = 'w'): string =>
  `${lanes.load(name, (row) => `weight[${at} + ${row}]`)}
      ${range(tile)
        .map((r) => `sum${r} += ${name}${r} * ${value};`)
        .join(' ')}`;

/** Place and store of four pixels anywhere in the target. */
const scatter = (p: ConvProduct): Pick<AccessCode, 'index' | 'store'> => ({
  index: /* wgsl */ `
  let image = position / params.pixels;
  let pixel = position % params.pixels;
  let v = pixel / params.pixel_width;
  let u = pixel % params.pixel_width;
  let place = (image * target_channels + target_channel) * params.target_plane +
    (v * params.phase_step + params.phase_y) * params.target_width + u * params.phase_step + params.phase_x;
  let count = min(4u, params.positions - min(column * 4u, params.positions));`,
  store: (r: number): string =>
    ['x', 'y', 'z', 'w']
      .map((e, i) => {
        const place = `place.${e} + ${r}u * params.target_plane`;
        const write = storeEnded(p, p.names.target, place, `sum${r}.${e}`, 'f32');
        return `if (count > ${i}u) { ${write} }`;
      })
      .join(' '),
});

type Loop = (tile: number, lanes: LaneRows, p: ConvProduct, vectors: number) => AccessCode;

const loops: Readonly<Record<Access, Loop>> = {
  general: (tile, lanes, p) => ({
    ...scatter(p),
    loop: /* wgsl */ `
  let first_y = vec4i(v) * params.source_step + params.origin_y;
  let first_x = vec4i(u) * params.source_step + params.origin_x;
  let base = (image * source_channels + group * params.depth) * params.source_plane;
  for (var i = 0; i < params.taps_y; i++) {
    let row = first_y + i * params.direction;
    let row_inside = (row >= vec4i(0)) & (row < vec4i(params.source_height));
    for (var j = 0; j < params.taps_x; j++) {
      let pixel_x = first_x + j * params.direction;
      let inside = row_inside & (pixel_x >= vec4i(0)) & (pixel_x < vec4i(params.source_width));
      var source_at = base + select(vec4u(0u), vec4u(row * params.source_width + pixel_x), inside);
      var at = weight_group + u32(i) * params.tap_y + u32(j) * params.tap_x;
      for (var k = 0u; k < params.depth; k++) {
        let value = select(vec4f(), vec4f(${range(4)
          .map((e) => `${p.names.source}[source_at[${e}]]`)
          .join(', ')}), inside);
        ${multiply(tile, lanes, 'at', 'value')}
        source_at += params.source_plane;
        at += params.weight_depth;
      }
    }
  }`,
  }),

  plane: (tile, lanes, p, vectors) => {
    const { source, target } = p.names;
    const each = (code: (v: number) => string): string => range(vectors).map(code).join('\n  ');
    // The first vector sums in sum0.., the others in sums of their own.
    const sum = (r: number, v: number): string => (v === 0 ? `sum${r}` : `sum${r}_${v}`);
    const rows = range(tile);
    return {
      index: /* wgsl */ `
  // Vectors of four pixels; a plane is a whole number of them. A lane's own are ${lanes.lanes} apart.
  let plane = params.source_plane / 4u;
  let columns = params.positions / 4u;
  ${each(
    (v) => /* wgsl */ `
  let column${v} = (block * ${vectors}u + ${v}u) * ${lanes.lanes}u + lane;
  let image${v} = min(column${v}, columns - 1u) / plane;
  let within${v} = min(column${v}, columns - 1u) % plane;
  let place${v} = (image${v} * target_channels + target_channel) * plane + within${v};
  var source_at${v} = (image${v} * source_channels + group * params.depth) * plane + within${v};
  ${v === 0 ? '' : rows.map((r) => `var ${sum(r, v)} = sum${r};`).join(' ')}`,
  )}`,
      loop: /* wgsl */ `
  var at = weight_group;
  for (var k = 0u; k < params.depth; k++) {
    ${each((v) => `let value${v} = ${source}[source_at${v}];`)}
    ${lanes.load('w', (row) => `weight[at + ${row}]`)}
    ${rows.map((r) => each((v) => `${sum(r, v)} += w${r} * value${v};`)).join('\n    ')}
    ${each((v) => `source_at${v} += plane;`)}
    at += params.weight_depth;
  }`,
      store: (r) =>
        each(
          (v) =>
            `if (column${v} < columns) { ${storeEnded(p, target, `place${v} + ${r}u * plane`, sum(r, v), 'vec4f')} }`,
        ),
    };
  },

  rows: (tile, lanes, p) => ({
    index: /* wgsl */ `
  let vectors = params.source_plane / 4u;
  let row_vectors = u32(params.source_width) / 4u;
  let image = (position.x / 4u) / vectors;
  let within = (position.x / 4u) % vectors;
  let place = (image * target_channels + target_channel) * vectors + within;`,
    loop: /* wgsl */ `
  let first_y = i32(within / row_vectors) + params.origin_y;
  let vector_x = within % row_vectors;
  let base = (image * source_channels + group * params.depth) * vectors + vector_x;
  let has_left = vector_x > 0u;
  let has_right = vector_x + 1u < row_vectors;
  // The tap that reads the pixel to the left: the first going forward, the last going backward.
  let left_tap = select(0u, 2u, params.direction < 0) * params.tap_x;
  let right_tap = select(2u, 0u, params.direction < 0) * params.tap_x;
  for (var i = 0; i < params.taps_y; i++) {
    let row = first_y + i * params.direction;
    let inside = row >= 0 && row < params.source_height;
    var source_at = base + select(0u, u32(row) * row_vectors, inside);
    var at = weight_group + u32(i) * params.tap_y;
    for (var k = 0u; k < params.depth; k++) {
      let middle = select(vec4f(), ${p.names.source}[source_at], inside);
      let before = select(0.0, ${p.names.source}[max(source_at, 1u) - 1u].w, inside && has_left);
      let after = select(0.0, ${p.names.source}[source_at + select(0u, 1u, has_right)].x, inside && has_right);
      let left = vec4f(before, middle.xyz);
      let right = vec4f(middle.yzw, after);
      ${multiply(tile, lanes, 'at + left_tap', 'left', 'p')}
      ${multiply(tile, lanes, 'at + params.tap_x', 'middle', 'q')}
      ${multiply(tile, lanes, 'at + right_tap', 'right', 'r')}
      source_at += vectors;
      at += params.weight_depth;
    }
  }`,
    store: (r) =>
      `if (column * 4u < params.positions) { ${storeEnded(p, p.names.target, `place + ${r}u * vectors`, `sum${r}`, 'vec4f')} }`,
  }),

  pixel: (tile, lanes, p) => ({
    ...scatter(p),
    loop: /* wgsl */ `
  // Four images a lane; the source channels of an image are contiguous.
  var source_at = (image * source_channels + group * params.depth) / 4u;
  var at = weight_group;
  for (var k = 0u; k < params.depth; k += 4u) {
    let a = ${p.names.source}[source_at.x];
    let b = ${p.names.source}[source_at.y];
    let c = ${p.names.source}[source_at.z];
    let d = ${p.names.source}[source_at.w];
    for (var e = 0u; e < 4u; e++) {
      let value = vec4f(a[e], b[e], c[e], d[e]);
      ${multiply(tile, lanes, 'at', 'value')}
      at += params.weight_depth;
    }
    source_at += 1u;
  }`,
  }),
};
