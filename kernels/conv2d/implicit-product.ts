import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { bind, i32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import {
  BLOCK_K as MATRIX_BLOCK_K,
  matrixColumn,
  matrixEnables,
  matrixEntryWgsl,
  matrixPieces,
  matrixPlacesWgsl,
  matrixStageWgsl,
  matrixStoreWgsl,
  matrixSumsWgsl,
  matrixThreads,
  matrixTile,
} from '../lib/matrix-tile.ts';
import type { MatrixTile } from '../lib/matrix-tile.ts';
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
import { range } from '../lib/unroll.ts';
import type { Variant } from '../lib/variant.ts';
import {
  declarePatch,
  fetchBlock,
  loadPixels,
  loadWeights,
  locatePixels,
  locateWeights,
  originWgsl,
  placeResults,
  storeRow,
} from './gather.ts';
import type { Loads } from './gather.ts';
import { isDense, positionsOf, productCost } from './image-product.ts';
import type { ConvProduct } from './image-product.ts';
import { packWeights } from './pack-weights.ts';

/*
 * For GPUs: a product of image-passes.ts as one of matrices, in the tiles of lib/product-tile.ts, or of
 * lib/matrix-tile.ts where operands are f16 and subgroups multiply matrices. Of a group, a is the weights,
 * [rows, k], and b the pixels that they meet, [k, positions], which never lie in memory as a matrix ("implicit"): k runs over
 * taps and, within a tap, over source channels, in whole blocks, so that the pixels of a block are those of one tap. From
 * block to block addresses advance by a constant; whether a pixel is in the image is asked once a tap.
 *
 * Weights of more than one tap are first laid out along k (pack-weights.ts).
 */

/** Rows and depth are whole vectors, and weights can be packed. */
function fits(p: ConvProduct, block: number, device: DeviceProfile): boolean {
  const channels = p.groups * p.rows;
  const packed = channels * tapsOf(p) * ceilDiv(p.depth, block) * block;
  const isHeld = 4 * packed <= device.maxBindingSize && channels <= device.maxWorkgroupsPerDimension;
  return p.rows % 4 === 0 && p.depth % 4 === 0 && isHeld;
}

const tapsOf = ({ tapsY, tapsX }: ConvProduct): number => tapsY.count * tapsX.count;

/** Tiles of a product. */
const tilesOf = (p: ConvProduct, tile: number): number =>
  p.groups * ceilDiv(p.rows, tile) * ceilDiv(positionsOf(p), tile);

interface Pass {
  readonly products: readonly ConvProduct[];
}

/** The variant of one kind of tiles, `schemeOf` a device: null where it cannot have them. */
const variantOf = (name: string, schemeOf: (device: DeviceProfile) => Scheme | null): Variant<Pass> => ({
  name,
  fits: ({ products }, device) => {
    const scheme = schemeOf(device);
    // Matrix units take f16.
    const isF16 = products.every(({ f16, names }) => f16.includes(names.source) && f16.includes('weight'));
    return (
      scheme !== null && products.every((p) => fits(p, scheme.block, device)) && (scheme.type === 'vec4f' || isF16)
    );
  },
  use: ({ products: [p] }, device) => {
    const { tile, threads } = schemeOf(device)!;
    if (device.cpu) return 'named';
    // Few channels or pixels would leave most of a tile empty.
    if (p.rows <= SMALL_TILE / 2 || positionsOf(p) <= 2 * SMALL_TILE) return 'named';
    const isBusy = tilesOf(p, tile) * threads >= BUSY_INVOCATIONS;
    return tile <= SMALL_TILE || (p.rows > SMALL_TILE && isBusy) ? 'default' : 'tuned';
  },
  launches: ({ products }, device) =>
    products.flatMap((product) => implicitProduct(product, schemeOf(device)!, device)),
});

const registers = (tile: number): Variant<Pass> =>
  variantOf(`implicit_${tile}x${tile}`, (device) =>
    tileBytes(tile) <= device.maxWorkgroupStorage && invocations(tile) <= device.maxInvocationsPerWorkgroup
      ? inRegisters(tile)
      : null,
  );
const matrices = (name: string, size: 4 | 8): Variant<Pass> =>
  variantOf(name, (device) => {
    const tile = matrixTile(size, device);
    return tile && inMatrices(tile, device);
  });

export const implicitProducts = [
  matrices('implicit_matrix_large', 8),
  matrices('implicit_matrix', 4),
  registers(LARGE_TILE),
  registers(SMALL_TILE),
];

/** Bindings by `names`, weight, and bias if it has one. */
function implicitProduct(p: ConvProduct, scheme: Scheme, device: DeviceProfile): Launch[] {
  const { name, tile, block, type } = scheme;
  const taps = tapsOf(p);
  // Where nothing is met, nothing is multiplied.
  const isPacked = taps > 0 && p.weight.depth !== 1 && p.weight.row !== 1;
  const packed = isPacked ? packWeights(p, name, block, device) : null;
  const dense = isDense(p);
  const alongK = packed !== null || p.weight.depth === 1;
  const loads: Loads = { alongK, dense, block, ragged: p.depth % block !== 0, type };
  const weights = packed ?? {
    group: p.weight.group,
    ld: alongK ? p.weight.row : p.weight.depth,
  };
  const positions = positionsOf(p);
  const blocksOfTap = ceilDiv(p.depth, block);
  const sourcePlane = p.source.height * p.source.width;
  const targetPlane = p.target.height * p.target.width;
  const tilesM = ceilDiv(p.rows, tile);
  const workgroups = tilesOf(p, tile);
  const { source, target } = p.ranges;
  // From the last block of a tap back to its first, then one pixel on; or to the next row of taps.
  const nextTap = p.direction - (blocksOfTap - 1) * block * sourcePlane;
  const nextRow = nextTap + p.direction * (p.source.width - p.tapsX.count);
  const unit = dense ? 4 : 1;
  const own = launch({
    name: `${p.name}/${name}`,
    bindings: [
      input(p.names.source, dense ? 'vec4f' : 'f32'),
      input('weight', 'vec4f'),
      output(p.names.target, dense ? 'vec4f' : 'f32'),
      ...(p.bias ? [input('bias')] : []),
    ],
    enables: scheme.enables,
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
      next_block: u32((block * sourcePlane) / unit),
      next_tap: i32(nextTap),
      next_row: i32(nextRow),
      weight_group: u32(weights.group),
      weight_ld: u32(weights.ld),
      weight_pitch: u32(weights.ld / 4),
      next_weights: u32(alongK ? block / 4 : (block * weights.ld) / 4),
      target_plane: u32(targetPlane),
      target_width: u32(p.target.width),
      phase_step: u32(p.phase.step),
      phase_y: u32(p.phase.y),
      phase_x: u32(p.phase.x),
      fours: u32(FOURS),
    },
    wgsl: scheme.wgsl(p, loads),
    grid: foldGrid(workgroups, device),
    cost: productCost(p),
    ranges: { ...(source && { [p.names.source]: source }), ...(target && { [p.names.target]: target }) },
  });
  const products = inF16([own], p.f16);
  return packed ? [...packed.launches, ...bind(products, { weight: packed.name })] : products;
}

const loadOf = (p: ConvProduct, loads: Loads, operand: 'a' | 'b', i: number): string =>
  operand === 'a' ? loadWeights(loads, i) : loadPixels(p.names.source, loads, i);
const locate = (loads: Loads, operand: 'a' | 'b', i: number): string =>
  operand === 'a' ? locateWeights(loads, i) : locatePixels(loads, i);

/** Tiles of a kind: for f32 without matrix units, or for f16 with them. */
interface Scheme {
  readonly name: string;
  /** Side of a tile. */
  readonly tile: number;
  readonly threads: number;
  /** Steps of k that pass through workgroup memory together. */
  readonly block: number;
  readonly type: Loads['type'];
  readonly enables: readonly string[];
  readonly wgsl: (p: ConvProduct, loads: Loads) => string;
}

const inRegisters = (tile: number): Scheme => ({
  name: `implicit_${tile}x${tile}`,
  tile,
  threads: invocations(tile),
  block: BLOCK_K,
  type: 'vec4f',
  enables: [],
  wgsl: (p, loads) => {
    const patches = pieces(tile);
    const place = patches.map(
      (i) => `${declarePatch(i)} ${ofOperand(tile, i, (operand) => `{ ${locate(loads, operand, i)} }`)}`,
    );
    const fetch = patches.map((i) => ofOperand(tile, i, (operand) => loadOf(p, loads, operand, i)));
    const rows = resultRows(tile);
    const stores = rows.map(({ row, vectors }) =>
      storeRow(p, loads.dense, row, new Map(vectors.map(({ sum }, c) => [c, sum]))),
    );
    return /* wgsl */ `
${linearWorkgroupWgsl}
${stageWgsl(tile)}
@compute @workgroup_size(${invocations(tile)})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  ${originWgsl(tile)}
  ${placesWgsl(tile)}
  ${place.join('\n')}
  ${sumsWgsl(tile, 'params.blocks', fetchBlock(loads, fetch))}
  ${placeResults(
    loads.dense,
    rows[0].vectors.map(({ column }) => column),
  )}
  ${stores.join('\n  ')}
}`;
  },
});

const inMatrices = (tile: MatrixTile, device: DeviceProfile): Scheme => ({
  name: `implicit_matrix_${tile.tile}x${tile.tile}`,
  tile: tile.tile,
  threads: matrixThreads(tile),
  block: MATRIX_BLOCK_K,
  type: 'vec4h',
  enables: matrixEnables(device),
  wgsl: (p, loads) => {
    const { a, b } = matrixPieces(tile);
    const patches = [...a.map((i) => ['a', i] as const), ...b.map((i) => ['b', i] as const)];
    const columns = range(tile.fragmentsAcross).map((c) => matrixColumn(tile, c));
    return /* wgsl */ `
${linearWorkgroupWgsl}
${matrixStageWgsl(tile)}
${matrixEntryWgsl(tile, device)} {
  ${originWgsl(tile.tile)}
  ${matrixPlacesWgsl(tile)}
  ${patches.map(([operand, i]) => `${declarePatch(i)} { ${locate(loads, operand, i)} }`).join('\n')}
  ${matrixSumsWgsl(
    tile,
    'params.blocks',
    fetchBlock(
      loads,
      patches.map(([operand, i]) => loadOf(p, loads, operand, i)),
    ),
  )}
  ${placeResults(loads.dense, columns)}
  ${matrixStoreWgsl(tile, (c) => storeRow(p, loads.dense, 'row', new Map([[c, 'value']])))}
}`;
  },
});
