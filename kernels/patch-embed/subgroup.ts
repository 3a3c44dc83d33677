import { ceilDiv, foldGrid, hasSubgroups, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { lines, range } from '../lib/unroll.ts';
import { columnsOfTile, rowProducts, rowTile } from '../matmul/row-products.ts';
import { patchEmbedCost } from './problem.ts';
import type { PatchEmbedProblem } from './problem.ts';

/*
 * Patch embedding on software adapters: the formulas of index.ts by the method of matmul/subgroup-rows.ts (lanes own
 * patches, features pass by), and for the weight's gradient, whose sums are over patches, with the other division of
 * labour: lanes own pixels (vec4), a different feature is loaded by each lane and handed round with subgroupBroadcast, and
 * patches pass by. Pixels are read where they lie.
 */

/** Whether pixels and features come in whole vectors, on a device for which these kernels are. */
export const fitsSubgroup = ({ patch, width }: PatchEmbedProblem, device: DeviceProfile): boolean =>
  device.cpu && hasSubgroups(device) && patch % 4 === 0 && width % 4 === 0;

function sizes({ batch, channels, gridHeight, gridWidth, patch }: PatchEmbedProblem) {
  return { patches: batch * gridHeight * gridWidth, depth: channels * patch * patch };
}

/** Steps through an image, in vectors of 4 pixels. */
const steps = ({ channels, gridHeight, gridWidth, patch }: PatchEmbedProblem) => ({
  columns: u32(patch / 4),
  side: u32(patch),
  image_row: u32((gridWidth * patch) / 4),
  plane: u32((gridHeight * patch * gridWidth * patch) / 4),
  channels: u32(channels),
  grid_width: u32(gridWidth),
  grid_height: u32(gridHeight),
});

/** Bindings x, w, bias, y. */
export function forwardSubgroup(problem: PatchEmbedProblem, device: DeviceProfile): Launch[] {
  const lanes = device.subgroupSize;
  const { patches, depth } = sizes(problem);
  const tile = rowTile({ m: patches, k: depth, lanes });
  const tilesOfRows = ceilDiv(patches, lanes * tile.rows);
  const columns = columnsOfTile(problem.width, tilesOfRows);
  const code = rowProducts(tile, lanes, { columns });
  const tilesN = ceilDiv(problem.width, columns);
  const tiles = tilesOfRows * tilesN;
  return [
    launch({
      name: `patch_embed.forward/subgroup_${lanes * tile.rows}x${tile.blockK}`,
      enables: ['subgroups'],
      bindings: [input('x', 'vec4f'), input('w', 'vec4f'), input('bias', 'vec4f'), output('y', 'vec4f')],
      uniforms: {
        ...steps(problem),
        patches: u32(patches),
        depth: u32(depth),
        width: u32(problem.width),
        tiles: u32(tiles),
        tiles_n: u32(tilesN),
        tile_columns: u32(columns),
        rows: u32(tile.rows),
        block_k: u32(tile.blockK),
      },
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
/** Where a patch begins in x; the last one's for what is past the end. */
fn start_of(wanted: u32) -> u32 {
  let patch_index = min(wanted, params.patches - 1);
  let gx = patch_index % params.grid_width;
  let gy = patch_index / params.grid_width % params.grid_height;
  let image = patch_index / params.grid_width / params.grid_height;
  return image * params.channels * params.plane + gy * params.side * params.image_row + gx * params.columns;
}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
let tile = linear_workgroup(workgroup, workgroups);
if (tile >= params.tiles) { return; }
let first_patch = tile / params.tiles_n * params.rows * ${lanes} + lane;
let first = tile % params.tiles_n * params.tile_columns;
let width = min(params.tile_columns, params.width - first);
${code.declarations}
var starts: array<u32, ${tile.rows}>;
for (var r = 0u; r < params.rows; r++) { starts[r] = start_of(first_patch + r * ${lanes}); }
for (var k = 0u; k < params.depth; k += params.block_k) {
  // Where element k of a patch lies: its column, its row, its channel.
  let first_dx = k / 4 % params.columns;
  let first_dy = k / 4 / params.columns % params.side;
  let first_at = k / 4 / params.columns / params.side * params.plane + first_dy * params.image_row + first_dx;
  ${code.cacheRows('select(vec4f(), x[starts[r] + at], k + e < params.depth)', {
    start: 'var dx = first_dx; var dy = first_dy; var at = first_at;',
    step: `let row_ends = dx + 1 == params.columns;
let channel_ends = row_ends && dy + 1 == params.side;
at += 1 + select(0u, params.image_row - params.columns, row_ends)
        + select(0u, params.plane - params.side * params.image_row, channel_ends);
dx = select(dx + 1, 0u, row_ends);
dy = select(select(dy, dy + 1, row_ends), 0u, channel_ends);`,
  })}
  ${code.multiply((part) => `w[((first + column) * params.depth + min(k + ${part} * 4, params.depth - 4)) / 4]`)}
}
${code.results(
  `let column = (first + c) / 4;
let own_bias = bias[column];`,
  `let patch_index = first_patch + r * ${lanes};
if (patch_index < params.patches) { y[patch_index * params.width / 4 + column] = four + own_bias; }`,
)}
}`,
      grid: foldGrid(tiles, device),
      cost: patchEmbedCost(problem, 'forward'),
    }),
  ];
}

/** Bindings x, dy, dw: the weight gradient in one part. A tile is 4 lanes' features by 8 lanes' pixels. */
export function weightGradientSubgroup(problem: PatchEmbedProblem, device: DeviceProfile): Launch[] {
  const lanes = device.subgroupSize;
  const { patches, depth } = sizes(problem);
  const rows = 4 * lanes;
  const vectors = depth > 4 * lanes ? 2 : 1;
  const tilesN = ceilDiv(depth, 4 * lanes * vectors);
  const tiles = ceilDiv(problem.width, rows) * tilesN;
  const last = (name: string): string => `min(${name}, params.depth / 4 - 1)`;
  return [
    launch({
      name: `patch_embed.weight/subgroup_${rows}x${4 * lanes * vectors}`,
      enables: ['subgroups'],
      bindings: [input('x', 'vec4f'), input('dy', 'vec4f'), output('dw', 'vec4f')],
      uniforms: {
        ...steps(problem),
        patches: u32(patches),
        depth: u32(depth),
        width: u32(problem.width),
        tiles: u32(tiles),
        tiles_n: u32(tilesN),
        rows: u32(rows),
      },
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
let tile = linear_workgroup(workgroup, workgroups);
if (tile >= params.tiles) { return; }
let row = tile / params.tiles_n * ${rows};
let feature = min(row / 4 + lane, params.width / 4 - 1);
// The pixels of a patch that this lane owns, four neighbours a vector; past the end the last ones, not stored.
${lines(
  vectors,
  (v) => `let wanted${v} = tile % params.tiles_n * ${lanes * vectors} + ${v * lanes} + lane;
let k${v} = ${last(`wanted${v}`)};
let pixel${v} = k${v} / params.columns / params.side * params.plane + k${v} / params.columns % params.side * params.image_row + k${v} % params.columns;`,
)}
// An array for each vector: see row-products.ts.
${lines(vectors, (v) => `var sums${v}: array<vec4f, ${rows}>;`)}
var start = 0u;
var gx = 0u;
var gy = 0u;
for (var n = 0u; n < params.patches; n++) {
let up = dy[n * params.width / 4 + feature];
${lines(vectors, (v) => `let pixels${v} = x[start + pixel${v}];`)}
${lines(
  rows,
  (r) => `let up${r} = subgroupBroadcast(up[${r % 4}], ${Math.floor(r / 4)}u);
${range(vectors)
  .map((v) => `sums${v}[${r}] += up${r} * pixels${v};`)
  .join(' ')}`,
)}
// To the next patch: past a row of patches begin ${'`side`'} rows of pixels further down, past an image its other channels.
let row_ends = gx + 1 == params.grid_width;
let image_ends = row_ends && gy + 1 == params.grid_height;
start += params.columns + select(0u, (params.side - 1) * params.image_row, row_ends)
                        + select(0u, (params.channels - 1) * params.plane, image_ends);
gx = select(gx + 1, 0u, row_ends);
gy = select(select(gy, gy + 1, row_ends), 0u, image_ends);
}
for (var r = 0u; r < min(params.rows, params.width - row); r++) {
${lines(
  vectors,
  (v) => `if (wanted${v} * 4 < params.depth) { dw[(row + r) * params.depth / 4 + wanted${v}] = sums${v}[r]; }`,
)}
}
}`,
      grid: foldGrid(tiles, device),
      cost: patchEmbedCost(problem, 'weight'),
    }),
  ];
}
