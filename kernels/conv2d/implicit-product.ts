import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bytesOfElement, inF16 } from '../lib/f16-storage.ts';
import { bind, i32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import {
  BLOCK_K,
  BUSY_INVOCATIONS,
  FOURS,
  LARGE_TILE,
  SMALL_TILE,
  invocations,
  ofOperand,
  pieces,
  placesWgsl,
  resultRows,
  stageWgsl,
  sumsWgsl,
  tileBytes,
} from '../lib/product-tile.ts';
import { lines, range } from '../lib/unroll.ts';
import type { Variant } from '../lib/variant.ts';
import { isDense } from './image-product.ts';
import type { ConvProduct } from './image-product.ts';
import { packWeights } from './pack-weights.ts';

/*
 * For GPUs: a product of image-passes.ts as one of matrices, in the tiles of lib/product-tile.ts. Of a group, a is the weights,
 * [rows, k], and b the pixels that they meet, [k, positions], which never lie in memory as a matrix ("implicit"): k runs over
 * taps and, within a tap, over source channels, in whole blocks, so that the pixels of a block are those of one tap. From
 * block to block addresses advance by a constant; whether a pixel is in the image is asked once a tap.
 *
 * Weights of more than one tap are first laid out along k (pack-weights.ts).
 */

/** Rows and depth are whole vectors. */
const fits = ({ rows, depth }: ConvProduct): boolean => rows % 4 === 0 && depth % 4 === 0;

const positionsOf = ({ batch, pixels }: ConvProduct): number => batch * pixels.height * pixels.width;
const tapsOf = ({ tapsY, tapsX }: ConvProduct): number => tapsY.count * tapsX.count;

/** Tiles of a product. */
const tilesOf = (p: ConvProduct, tile: number): number =>
  p.groups * ceilDiv(p.rows, tile) * ceilDiv(positionsOf(p), tile);

const nameOf = (tile: number): string => `implicit_${tile}x${tile}`;

/** The variant of one tile. */
const tiled = (tile: number): Variant<{ readonly products: readonly ConvProduct[] }> => ({
  name: nameOf(tile),
  fits: ({ products }, device) =>
    products.every(fits) &&
    tileBytes(tile) <= device.maxWorkgroupStorage &&
    invocations(tile) <= device.maxInvocationsPerWorkgroup,
  use: ({ products: [p] }, device) => {
    if (device.cpu) return 'named';
    // Few channels or pixels would leave most of a tile empty.
    if (p.rows <= SMALL_TILE / 2 || positionsOf(p) <= 2 * SMALL_TILE) return 'named';
    const isBusy = tilesOf(p, tile) * invocations(tile) >= BUSY_INVOCATIONS;
    return tile === SMALL_TILE || (p.rows > SMALL_TILE && isBusy) ? 'default' : 'tuned';
  },
  launches: ({ products }, device) => products.flatMap((product) => implicitProduct(product, tile, device)),
});

export const implicitProducts = [tiled(LARGE_TILE), tiled(SMALL_TILE)];

/** How an operand is loaded. */
interface Loads {
  /** Vectors of weights lie along k, else along rows. */
  readonly alongK: boolean;
  /** Vectors of pixels lie in the source as in the target. */
  readonly dense: boolean;
  /** The depth is no whole number of blocks. */
  readonly ragged: boolean;
}

/** WGSL: loads of patch i where `condition` holds; it is left out where nothing can be past the end. */
const guarded = (condition: string | null, loads: string): string =>
  condition === null ? loads : `if (${condition}) { ${loads} }`;

/** WGSL: where patch i of the weights begins. Rows past the end are others of the group, whose sums are not stored. */
const locateWeights = ({ alongK }: Loads, i: number): string => {
  const row = `min(origin_a + x_${i}, params.rows - 4u)`;
  const at = alongK ? `${row} * params.weight_ld + step_${i}` : `step_${i} * params.weight_ld + ${row}`;
  return `from_${i}.x = (group * params.weight_group + ${at}) / 4u; advance_${i} = params.next_weights;`;
};

function loadWeights({ alongK, ragged }: Loads, i: number): string {
  const load = (j: number): string => `weight[from_${i}.x + ${j}u * params.weight_pitch]`;
  const inside = ragged ? `of_tap * ${BLOCK_K}u + step_${i} < params.depth` : null;
  if (!alongK) {
    return `${lines(4, (j) => `next${i}_${j} = vec4f();`)} ${guarded(
      inside,
      lines(4, (j) => `next${i}_${j} = ${load(j)};`),
    )}`;
  }
  return /* wgsl */ `
    ${lines(4, (j) => `var u${j} = vec4f();`)}
    ${guarded(
      inside,
      lines(4, (j) => `u${j} = ${load(j)};`),
    )}
    ${lines(4, (j) => `next${i}_${j} = vec4f(u0[${j}], u1[${j}], u2[${j}], u3[${j}]);`)}`;
}

/** WGSL: where patch i of the pixels begins. Positions past the end are the last ones, whose sums are not stored. */
const locatePixels = ({ dense }: Loads, i: number): string =>
  dense
    ? /* wgsl */ `
    let position = min(origin_b + x_${i}, params.positions - 4u);
    let channel = (position / params.pixels) * source_channels + group * params.depth + step_${i};
    from_${i}.x = (channel * params.source_plane + position % params.pixels) / 4u;
    advance_${i} = params.next_block;`
    : /* wgsl */ `
    let position = min(vec4u(origin_b + x_${i}) + vec4u(0u, 1u, 2u, 3u), vec4u(params.positions - 1u));
    let pixel = position % params.pixels;
    y_${i} = vec4i(pixel / params.pixel_width) * params.source_step + params.origin_y;
    at_${i} = vec4i(pixel % params.pixel_width) * params.source_step + params.origin_x;
    let channel = (position / params.pixels) * source_channels + group * params.depth + step_${i};
    from_${i} = channel * params.source_plane + vec4u(y_${i} * params.source_width + at_${i});`;

function loadPixels(source: string, { dense, ragged }: Loads, i: number): string {
  const inDepth = `of_tap * ${BLOCK_K}u + step_${i} < params.depth`;
  if (dense) {
    const loads = lines(4, (j) => `next${i}_${j} = ${source}[from_${i}.x + ${j}u * params.source_pitch];`);
    return ragged ? `${lines(4, (j) => `next${i}_${j} = vec4f();`)} ${guarded(inDepth, loads)}` : loads;
  }
  const column = (e: number): string => {
    const loads = range(4).map(
      (j) => `next${i}_${j}[${e}] = ${source}[from_${i}[${e}] + ${j}u * params.source_plane];`,
    );
    return `if (inside_${i}[${e}]${ragged ? ` && ${inDepth}` : ''}) { ${loads.join(' ')} }`;
  };
  return /* wgsl */ `
    if (of_tap == 0u) {
      let row = vec4u(y_${i} + tap_y * params.direction);
      let column = vec4u(at_${i} + tap_x * params.direction);
      inside_${i} = (row < vec4u(params.source_height)) & (column < vec4u(u32(params.source_width)));
    }
    ${lines(4, (j) => `next${i}_${j} = vec4f();`)}
    ${lines(4, column)}
    advance_${i} = next_pixels;`;
}

/** WGSL: on to the next block, which may be the first one of the next tap, or of the next row of taps. */
const nextBlock = /* wgsl */ `
    of_tap++;
    if (of_tap == params.blocks_of_tap) {
      of_tap = 0u;
      tap_x++;
      if (tap_x == params.taps_x) { tap_x = 0; tap_y++; }
    }`;
const jump = /* wgsl */ `
    let ends_tap = of_tap + 1u == params.blocks_of_tap;
    let ends_row = tap_x + 1 == params.taps_x;
    let next_pixels = select(params.next_block, u32(select(params.next_tap, params.next_row, ends_row)), ends_tap);`;

/** Bindings by `names`, weight, and bias if it has one. */
function implicitProduct(p: ConvProduct, tile: number, device: DeviceProfile): Launch[] {
  const taps = tapsOf(p);
  // Where nothing is met, nothing is multiplied.
  const isPacked = taps > 0 && p.weight.depth !== 1 && p.weight.row !== 1;
  const packed = isPacked ? packWeights(p, nameOf(tile), BLOCK_K, device) : null;
  const dense = isDense(p);
  const alongK = packed !== null || p.weight.depth === 1;
  const loads: Loads = { alongK, dense, ragged: p.depth % BLOCK_K !== 0 };
  const weights = packed ?? {
    group: p.weight.group,
    ld: alongK ? p.weight.row : p.weight.depth,
  };
  const positions = positionsOf(p);
  const blocksOfTap = ceilDiv(p.depth, BLOCK_K);
  const sourcePlane = p.source.height * p.source.width;
  const targetPlane = p.target.height * p.target.width;
  const tilesM = ceilDiv(p.rows, tile);
  const workgroups = tilesOf(p, tile);
  const macs = positions * p.groups * p.rows * p.depth * taps;
  const { source, target } = p.ranges;
  const bytesOf = (binding: string, elements: number): number => bytesOfElement(p.f16, binding) * elements;
  // From the last block of a tap back to its first, then one pixel on; or to the next row of taps.
  const nextTap = p.direction - (blocksOfTap - 1) * BLOCK_K * sourcePlane;
  const nextRow = nextTap + p.direction * (p.source.width - p.tapsX.count);
  const unit = dense ? 4 : 1;
  const own = launch({
    name: `${p.name}/${nameOf(tile)}`,
    bindings: [
      input(p.names.source, dense ? 'vec4f' : 'f32'),
      input('weight', 'vec4f'),
      output(p.names.target, dense ? 'vec4f' : 'f32'),
      ...(p.bias ? [input('bias')] : []),
    ],
    uniforms: {
      workgroups: u32(workgroups),
      tiles_m: u32(tilesM),
      groups: u32(p.groups),
      rows: u32(p.rows),
      depth: u32(p.depth),
      positions: u32(positions),
      pixels: u32(p.pixels.height * p.pixels.width),
      pixel_width: u32(p.pixels.width),
      source_height: u32(p.source.height),
      source_width: i32(p.source.width),
      source_plane: u32(sourcePlane),
      source_pitch: u32(sourcePlane / unit),
      source_step: i32(p.sourceStep),
      origin_y: i32(p.tapsY.origin),
      origin_x: i32(p.tapsX.origin),
      direction: i32(p.direction),
      taps_x: i32(p.tapsX.count),
      blocks: u32(taps * blocksOfTap),
      blocks_of_tap: u32(blocksOfTap),
      next_block: u32((BLOCK_K * sourcePlane) / unit),
      next_tap: i32(nextTap),
      next_row: i32(nextRow),
      weight_group: u32(weights.group),
      weight_ld: u32(weights.ld),
      weight_pitch: u32(weights.ld / 4),
      next_weights: u32(alongK ? BLOCK_K / 4 : (BLOCK_K * weights.ld) / 4),
      target_plane: u32(targetPlane),
      target_width: u32(p.target.width),
      phase_step: u32(p.phase.step),
      phase_y: u32(p.phase.y),
      phase_x: u32(p.phase.x),
      fours: u32(FOURS),
    },
    wgsl: shader(p, loads, tile),
    grid: foldGrid(workgroups, device),
    cost: {
      flops: 2 * macs,
      bytes:
        bytesOf(p.names.source, p.batch * p.groups * p.depth * sourcePlane) +
        bytesOf(p.names.target, positions * p.groups * p.rows) +
        bytesOf('weight', macs / positions),
    },
    ranges: { ...(source && { [p.names.source]: source }), ...(target && { [p.names.target]: target }) },
  });
  const products = inF16([own], p.f16);
  return packed ? [...packed.launches, ...bind(products, { weight: packed.name })] : products;
}

function shader(p: ConvProduct, loads: Loads, tile: number): string {
  const { dense } = loads;
  const { source } = p.names;
  const place = pieces(tile).map(
    (i) => /* wgsl */ `
  var from_${i} = vec4u(); var advance_${i} = 0u; var y_${i} = vec4i(); var at_${i} = vec4i(); var inside_${i} = vec4<bool>();
  ${ofOperand(tile, i, (operand) => (operand === 'a' ? locateWeights(loads, i) : locatePixels(loads, i)))}`,
  );
  const fetch = pieces(tile).map(
    (i) => /* wgsl */ `
    { ${ofOperand(tile, i, (operand) => (operand === 'a' ? loadWeights(loads, i) : loadPixels(source, loads, i)))} }
    from_${i} += vec4u(advance_${i});`,
  );
  return /* wgsl */ `
${linearWorkgroupWgsl}
${stageWgsl(tile)}
@compute @workgroup_size(${invocations(tile)})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let number = linear_workgroup(workgroup, workgroups);
  if (number >= params.workgroups) { return; }
  // Rows vary fastest, so that neighbouring workgroups read the same pixels.
  let origin_a = (number % params.tiles_m) * ${tile}u;
  let group = (number / params.tiles_m) % params.groups;
  let origin_b = (number / params.tiles_m / params.groups) * ${tile}u;
  let source_channels = params.groups * params.depth;
  ${placesWgsl(tile)}
  ${place.join('\n')}
  var of_tap = 0u;
  var tap_x = 0;
  var tap_y = 0;
  ${sumsWgsl(tile, 'params.blocks', `${dense ? '' : jump}${fetch.join('\n')}${nextBlock}`)}
  ${storeWgsl(p, dense, tile)}
}`;
}

/** WGSL: the sums of an invocation to the target: whole vectors of it, or one by one. */
function storeWgsl(p: ConvProduct, dense: boolean, tile: number): string {
  const { target } = p.names;
  const rows = resultRows(tile);
  const columns = rows[0].vectors.map(({ column }, c) =>
    dense
      ? /* wgsl */ `
  let position${c} = origin_b + ${column};
  let place${c} = ((position${c} / params.pixels) * target_channels * params.target_plane + position${c} % params.pixels) / 4u;`
      : /* wgsl */ `
  let position${c} = vec4u(origin_b + ${column}) + vec4u(0u, 1u, 2u, 3u);
  let pixel${c} = position${c} % params.pixels;
  let place${c} = (position${c} / params.pixels) * target_channels * params.target_plane +
    ((pixel${c} / params.pixel_width) * params.phase_step + params.phase_y) * params.target_width +
    (pixel${c} % params.pixel_width) * params.phase_step + params.phase_x;`,
  );
  const store = (sum: string, c: number): string =>
    dense
      ? `if (position${c} < params.positions) { ${target}[place${c} + to / 4u] = ${sum}; }`
      : range(4)
          .map(
            (e) => `if (position${c}[${e}] < params.positions) { ${target}[place${c}[${e}] + to] = (${sum})[${e}]; }`,
          )
          .join(' ');
  const stores = rows.map(
    ({ row, vectors }) => /* wgsl */ `{
    let row = origin_a + ${row};
    if (row < params.rows) {
      let channel = group * params.rows + row;
      let to = channel * params.target_plane;
      ${vectors.map(({ sum }, c) => store(p.bias ? `${sum} + bias[channel]` : sum, c)).join('\n      ')}
    }
  }`,
  );
  return `let target_channels = params.groups * params.rows;\n${columns.join('\n')}\n${stores.join('\n  ')}`;
}
