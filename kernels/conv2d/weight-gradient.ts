import { convOutput, f16Bindings, forwardTaps, imageBytes } from './problem.ts';
import type { ConvProblem } from './problem.ts';
import { tilingName, weightTile } from './tiles.ts';
import type { Access, Tile, Tiling } from './tiles.ts';
import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { bind, i32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { laneRows } from './lane-rows.ts';
import type { LaneRows } from './lane-rows.ts';
import { range } from '../lib/unroll.ts';
import { LONGEST_SUM, cutImages, total } from './weight-chunks.ts';
import type { Part } from './weight-chunks.ts';

/**
 * Weight gradient of a convolution (see ConvProblem):
 *   dw[o, c, i, j] = sum over b, p, q of dy[b, o, p, q] * x[b, group(o) * C/g + c, p * stride - padding + i, q * stride - padding + j]
 * It is written, not added. Lanes own columns (source channels and taps) of a group, an invocation several filters (rows) in
 * registers; the long sum over images and pixels is cut into chunks where there is too little else to share out. Each
 * chunk then writes a partial result, and a second kernel adds them in order: the same result every time.
 *
 * Accesses as in image-product.ts: `plane` and `rows` multiply whole vectors of four pixels; `pixel` (images of one
 * pixel) four source channels; `general` single pixels. Their tiles are in tiles.ts.
 */
export function weightGradient(problem: ConvProblem, tiling: Tiling, device: DeviceProfile): Launch[] {
  const plan = planWeightGradient(problem, tiling, device);
  const sums = inF16(
    plan.parts.map((part) => partial(problem, plan, part, device)),
    f16Bindings(problem, { x: 'x', dy: 'y' }),
  );
  if (plan.direct) return bind(sums, { partial: 'dw' });
  const partials = { partial: { elements: plan.stride * plan.chunks } };
  return [...bind(sums, {}, partials), ...total(problem, plan, device)];
}

interface Plan extends Tiling {
  readonly lanes: LaneRows;
  readonly columns: number;
  /** What the long sum runs over, an image: vectors of pixels, rows of pixels, or the image itself. */
  readonly itemsPerImage: number;
  readonly parts: readonly Part[];
  readonly chunks: number;
  /** Whether the only chunk is the result. */
  readonly direct: boolean;
  /** Elements from one chunk's partial result to the next. */
  readonly stride: number;
  /** The one tap that is not all padding, for `pixel`, whose partial results leave out the others; else null. */
  readonly onlyTap: number | null;
}

/** Source channels, with the taps that an invocation does not take all at once. */
function columnCount({ channels, groups, kernelHeight, kernelWidth }: ConvProblem, access: Access): number {
  const depth = channels / groups;
  return { plane: depth, rows: depth * kernelHeight, pixel: depth / 4, general: depth * kernelHeight * kernelWidth }[
    access
  ];
}

export function usualWeightTiling(p: ConvProblem, device: DeviceProfile): Tiling {
  const access = accessOf(p);
  return { access, tile: weightTile(access, p.filters / p.groups, columnCount(p, access), device) };
}

function planWeightGradient(p: ConvProblem, { access, tile }: Tiling, device: DeviceProfile): Plan {
  const [height, width] = convOutput(p);
  const depth = p.channels / p.groups;
  const rows = p.filters / p.groups;
  const allTaps = p.kernelHeight * p.kernelWidth;
  const columns = columnCount(p, access);
  const lanes = laneRows(tile.rows, device);
  const itemsPerImage = { plane: (height * width) / 4, rows: (height * width) / 4, pixel: 1, general: height }[access];
  const workPerItem = access === 'general' ? width : 1;
  const tiles = p.groups * ceilDiv(rows, tile.rows) * ceilDiv(columns, lanes.lanes * tile.columns);
  const { parts, chunks } = cutImages(p, device, {
    itemsPerImage,
    wanted: ceilDiv(device.cpu ? 24 : 2048, tiles),
    least: ceilDiv(device.cpu ? 32 : 16, workPerItem),
    most: ceilDiv(LONGEST_SUM, workPerItem),
  });
  const leavesOut = access === 'pixel' && allTaps > 1;
  const elements = p.filters * depth * (leavesOut ? 1 : allTaps);
  const tap =
    forwardTaps(p.height, height, p.kernelHeight, p.stride, p.padding).first * p.kernelWidth +
    forwardTaps(p.width, width, p.kernelWidth, p.stride, p.padding).first;
  const stride = ceilDiv(elements, 4) * 4;
  const onlyTap = leavesOut ? tap : null;
  return {
    access,
    tile,
    lanes,
    columns,
    itemsPerImage,
    parts,
    chunks,
    direct: chunks === 1 && !leavesOut,
    stride,
    onlyTap,
  };
}

function accessOf(p: ConvProblem): Access {
  const [height, width] = convOutput(p);
  const depth = p.channels / p.groups;
  if (p.height * p.width === 1 && height * width === 1 && depth % 4 === 0) return 'pixel';
  if (p.stride !== 1 || height !== p.height || width !== p.width) return 'general';
  if (p.kernelHeight * p.kernelWidth === 1 && (height * width) % 4 === 0) return 'plane';
  if (p.kernelWidth === 3 && width % 4 === 0) return 'rows';
  return 'general';
}

/** Sums of one part of the batch, chunk by chunk. */
function partial(p: ConvProblem, plan: Plan, part: Part, device: DeviceProfile): Launch {
  const [height, width] = convOutput(p);
  const { access, tile, lanes, columns } = plan;
  const depth = p.channels / p.groups;
  const rows = p.filters / p.groups;
  const rowTiles = ceilDiv(rows, tile.rows);
  const columnTiles = ceilDiv(columns, lanes.lanes * tile.columns);
  const workgroups = p.groups * rowTiles * columnTiles * part.chunks;
  const macs = part.batch * p.filters * depth * p.kernelHeight * p.kernelWidth * height * width;
  const bytes = imageBytes(p);
  const { x, y: dy } = part.ranges;
  return launch({
    name: `conv2d.weight_gradient/${tilingName(plan)}`,
    bindings: [
      input('x', access === 'general' ? 'f32' : 'vec4f'),
      input('dy', access === 'plane' || access === 'rows' ? 'vec4f' : 'f32'),
      output('partial'),
    ],
    uniforms: {
      workgroups: u32(workgroups),
      groups: u32(p.groups),
      row_tiles: u32(rowTiles),
      column_tiles: u32(columnTiles),
      rows: u32(rows),
      columns: u32(columns),
      depth: u32(depth),
      height: i32(p.height),
      width: i32(p.width),
      plane: u32(p.height * p.width),
      out_height: u32(height),
      out_width: u32(width),
      out_plane: u32(height * width),
      kernel_height: u32(p.kernelHeight),
      kernel_width: u32(p.kernelWidth),
      conv_stride: i32(p.stride),
      padding: i32(p.padding),
      items: u32(part.batch * plan.itemsPerImage),
      items_per_image: u32(plan.itemsPerImage),
      items_per_chunk: u32(part.itemsPerChunk),
      first_chunk: u32(part.firstChunk),
      chunk_stride: u32(plan.stride),
    },
    enables: lanes.enables,
    wgsl: shader(access, tile, lanes),
    grid: foldGrid(workgroups, device),
    cost: { flops: 2 * macs, bytes: part.batch * (bytes.x + bytes.y) },
    ranges: { ...(x && { x }), ...(dy && { dy }) },
  });
}

/** Everything but the loop over the items of a chunk, which the access decides. */
function shader(access: Access, tile: Tile, lanes: LaneRows): string {
  const { vectorRows, sums, loop, store } = loops[access](tile, lanes);
  const rows = range(tile.rows);
  const plane = vectorRows ? 'params.out_plane / 4u' : 'params.out_plane';
  return /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(${lanes.lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  var number = linear_workgroup(workgroup, workgroups);
  if (number >= params.workgroups) { return; }
  let column_tile = number % params.column_tiles;
  number /= params.column_tiles;
  let first_row = (number % params.row_tiles) * ${tile.rows}u;
  number /= params.row_tiles;
  let group = number % params.groups;
  let chunk = number / params.groups;
  // A lane's columns are ${lanes.lanes} apart.
  let own_column = column_tile * ${lanes.lanes * tile.columns}u + lane;
  ${perColumn(tile, (v) => `let column${v} = min(own_column + ${v * lanes.lanes}u, params.columns - 1u);`)}
  let first_item = chunk * params.items_per_chunk;
  let end_item = min(first_item + params.items_per_chunk, params.items);
  let channels = params.groups * params.depth;
  let filters = params.groups * params.rows;
  // Place of a row of dy within an image.
  let dy_plane = ${plane};
  ${lanes.prepare((r) => `(group * params.rows + min(first_row + ${r}, params.rows - 1u)) * dy_plane`)}
  ${rows.map((r) => sums(r)).join('\n  ')}
  ${loop}
  let result = (params.first_chunk + chunk) * params.chunk_stride;
  let filter_first = group * params.rows + first_row;
  ${perColumn(
    tile,
    (v) => `if (own_column + ${v * lanes.lanes}u < params.columns) {
    ${rows.map((r) => `if (first_row + ${r}u < params.rows) { ${store(r, v)} }`).join('\n    ')}
  }`,
  )}
}`;
}

interface AccessCode {
  /** Whether dy is read as vectors of four pixels. */
  readonly vectorRows: boolean;
  /** Declares the sums of a row. */
  readonly sums: (row: number) => string;
  readonly loop: string;
  readonly store: (row: number, column: number) => string;
}

const perRow = ({ rows }: Tile, code: (r: number) => string): string => range(rows).map(code).join(' ');
const perColumn = ({ columns }: Tile, code: (v: number) => string): string => range(columns).map(code).join('\n  ');
const loadRows = (lanes: LaneRows, at: string): string => lanes.load('d', (row) => `dy[${at} + ${row}]`);

const loops: Readonly<Record<Access, (tile: Tile, lanes: LaneRows) => AccessCode>> = {
  plane: (tile, lanes) => ({
    vectorRows: true,
    sums: (r) => perColumn(tile, (v) => `var sum${r}_${v} = 0.0;`),
    loop: /* wgsl */ `
  let image = first_item / params.items_per_image;
  var within = first_item % params.items_per_image;
  let first_channel = image * channels + group * params.depth;
  ${perColumn(tile, (v) => `var x_at${v} = (first_channel + column${v}) * params.items_per_image + within;`)}
  var at = image * filters * dy_plane + within;
  for (var item = first_item; item < end_item; item++) {
    ${perColumn(tile, (v) => `let value${v} = x[x_at${v}];`)}
    ${loadRows(lanes, 'at')}
    ${perRow(tile, (r) => perColumn(tile, (v) => `sum${r}_${v} += dot(d${r}, value${v});`))}
    // On to the next vector, which may be the first of the next image.
    within += 1u;
    let wraps = within == params.items_per_image;
    within = select(within, 0u, wraps);
    let x_step = select(1u, 1u + (channels - 1u) * params.items_per_image, wraps);
    ${perColumn(tile, (v) => `x_at${v} += x_step;`)}
    at += select(1u, 1u + (filters - 1u) * params.items_per_image, wraps);
  }`,
    store: (r, v) => `partial[result + (filter_first + ${r}u) * params.depth + column${v}] = sum${r}_${v};`,
  }),

  rows: (tile, lanes) => ({
    vectorRows: true,
    sums: (r) => `var left${r} = vec4f(); var middle${r} = vec4f(); var right${r} = vec4f();`,
    loop: /* wgsl */ `
  let channel = column0 / params.kernel_height;
  let tap_y = column0 % params.kernel_height;
  let row_vectors = u32(params.width) / 4u;
  var image = first_item / params.items_per_image;
  var y = (first_item % params.items_per_image) / row_vectors;
  var column_x = first_item % row_vectors;
  for (var item = first_item; item < end_item; item++) {
    let row = i32(y + tap_y) - params.padding;
    let inside = row >= 0 && row < params.height;
    let base = (image * channels + group * params.depth + channel) * params.items_per_image + column_x;
    let x_at = base + select(0u, u32(row) * row_vectors, inside);
    let value = select(vec4f(), x[x_at], inside);
    let before = select(0.0, x[max(x_at, 1u) - 1u].w, inside && column_x > 0u);
    let has_right = column_x + 1u < row_vectors;
    let after = select(0.0, x[x_at + select(0u, 1u, has_right)].x, inside && has_right);
    let value_left = vec4f(before, value.xyz);
    let value_right = vec4f(value.yzw, after);
    ${loadRows(lanes, 'image * filters * dy_plane + y * row_vectors + column_x')}
    ${perRow(tile, (r) => `left${r} += d${r} * value_left; middle${r} += d${r} * value; right${r} += d${r} * value_right;`)}
    column_x += 1u;
    if (column_x == row_vectors) { column_x = 0u; y += 1u; }
    if (y == params.out_height) { y = 0u; image += 1u; }
  }`,
    store: (r) => /* wgsl */ `
    let at = result + ((filter_first + ${r}u) * params.depth + channel) * params.kernel_height * 3u + tap_y * 3u;
    partial[at] = dot(left${r}, vec4f(1.0));
    partial[at + 1u] = dot(middle${r}, vec4f(1.0));
    partial[at + 2u] = dot(right${r}, vec4f(1.0));`,
  }),

  pixel: (tile, lanes) => ({
    vectorRows: false,
    sums: (r) => `var sum${r} = vec4f();`,
    loop: /* wgsl */ `
  for (var image = first_item; image < end_item; image++) {
    let value = x[(image * channels + group * params.depth) / 4u + column0];
    ${loadRows(lanes, 'image * filters')}
    ${perRow(tile, (r) => `sum${r} += d${r} * value;`)}
  }`,
    store: (r) => /* wgsl */ `
    let at = result + (filter_first + ${r}u) * params.depth + column0 * 4u;
    partial[at] = sum${r}.x; partial[at + 1u] = sum${r}.y; partial[at + 2u] = sum${r}.z; partial[at + 3u] = sum${r}.w;`,
  }),

  general: (tile, lanes) => ({
    vectorRows: false,
    sums: (r) => perColumn(tile, (v) => `var sum${r}_${v} = 0.0;`),
    loop: /* wgsl */ `
  let taps = params.kernel_height * params.kernel_width;
  ${perColumn(
    tile,
    (v) => /* wgsl */ `
  let channel${v} = column${v} / taps;
  let tap_y${v} = i32((column${v} % taps) / params.kernel_width) - params.padding;
  let tap_x${v} = i32(column${v} % params.kernel_width) - params.padding;`,
  )}
  // An item is a row of pixels.
  for (var item = first_item; item < end_item; item++) {
    let image = item / params.out_height;
    let y = item % params.out_height;
    let first_channel = image * channels + group * params.depth;
    ${perColumn(
      tile,
      (v) => /* wgsl */ `
    let row${v}_y = i32(y) * params.conv_stride + tap_y${v};
    let row${v}_inside = row${v}_y >= 0 && row${v}_y < params.height;
    let x_at${v} = (first_channel + channel${v}) * params.plane + select(0u, u32(row${v}_y * params.width), row${v}_inside);`,
    )}
    let at = image * filters * dy_plane + y * params.out_width;
    for (var q = 0u; q < params.out_width; q++) {
      ${perColumn(
        tile,
        (v) => /* wgsl */ `
      let pixel${v} = i32(q) * params.conv_stride + tap_x${v};
      let inside${v} = row${v}_inside && pixel${v} >= 0 && pixel${v} < params.width;
      let value${v} = select(0.0, x[x_at${v} + select(0u, u32(pixel${v}), inside${v})], inside${v});`,
      )}
      ${loadRows(lanes, 'at + q')}
      ${perRow(tile, (r) => perColumn(tile, (v) => `sum${r}_${v} += d${r} * value${v};`))}
    }
  }`,
    store: (r, v) => `partial[result + (filter_first + ${r}u) * params.depth * taps + column${v}] = sum${r}_${v};`,
  }),
};
