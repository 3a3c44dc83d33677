import { ceilDiv, foldGrid } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { bind, i32, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { FOURS, SMALL_TILE } from '../lib/product-tile.ts';
import { productSchemes, useOfTiles } from '../lib/product-schemes.ts';
import type { ProductCode, Scheme, SchemeChoice } from '../lib/product-schemes.ts';
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
import { endBindings, isDense, positionsOf, productCost, rangesOf } from './image-product.ts';
import type { ConvProduct } from './image-product.ts';
import { packWeights } from './pack-weights.ts';

/*
 * For GPUs: a product of image-passes.ts as one of matrices, in the tiles of lib/product-schemes.ts. Of a group, a is the weights,
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

/** The variant of one kind of tiles. */
const variantOf = ({ name, schemeOf }: SchemeChoice): Variant<Pass> => ({
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
    if (device.cpu) return 'named';
    // Few channels or pixels would leave most of a tile empty.
    const columns = positionsOf(p);
    if (p.rows <= SMALL_TILE / 2 || columns <= 2 * SMALL_TILE) return 'named';
    return useOfTiles(schemeOf(device)!, { rows: p.rows, columns }, p.groups);
  },
  launches: ({ products }, device) =>
    products.flatMap((product) => implicitProduct(product, schemeOf(device)!, device)),
});

export const implicitProducts = productSchemes.map(variantOf);

/** Bindings by `names`, weight, and bias and shortcut if it has them. */
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
      ...endBindings(p, dense ? 'vec4f' : 'f32'),
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
    wgsl: scheme.wgsl(codeOf(p, tile, loads)),
    grid: foldGrid(workgroups, device),
    cost: productCost(p),
    ranges: rangesOf(p),
  });
  const products = inF16([own], p.f16);
  return packed ? [...packed.launches, ...bind(products, { weight: packed.name })] : products;
}

const codeOf = (p: ConvProduct, tile: number, loads: Loads): ProductCode => ({
  origin: originWgsl(tile),
  alongK: { a: loads.alongK, b: false },
  declare: declarePatch,
  locate: (operand, i) => (operand === 'a' ? locateWeights(loads, i) : locatePixels(loads, i)),
  load: (operand, i) => (operand === 'a' ? loadWeights(loads, i) : loadPixels(p.names.source, loads, i)),
  fetch: (own) => fetchBlock(loads, own),
  blocks: 'params.blocks',
  place: (columns) => placeResults(loads.dense, columns),
  store: (row, sums) => storeRow(p, loads.dense, row, sums),
});
