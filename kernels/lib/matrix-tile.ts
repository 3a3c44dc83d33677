import { matrixSubgroup, squareMatrices } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { lines, range } from './unroll.ts';

/*
 * A square tile of a product of two matrices in f16, a [rows, k] by b [k, columns] with sums in f32, on a GPU whose subgroups
 * multiply matrices (tensor cores). Each subgroup of the workgroup computes a block of fragments, whose sums stay in registers.
 * Blocks of BLOCK_K steps of k pass through workgroup memory; the loads of the next one are under way while this one is
 * multiplied.
 *
 * Both operands are loaded as patches of 4 x 4, as in product-tile.ts, and turned in registers, so that workgroup memory holds
 * [row or column][k]: a lane's part of a fragment lies together there. Rows in it are PADDING elements longer than they need
 * to be, so that those of a fragment begin in different banks.
 */

/** Steps of k that pass through workgroup memory together. */
export const BLOCK_K = 32;
const PADDING = 8;
const STRIDE = BLOCK_K + PADDING;
/** Subgroups down a tile. */
const DOWN = 2;

export interface MatrixTile {
  /** Side of a fragment, and of the tile. */
  readonly side: number;
  readonly tile: number;
  /** Lanes of a subgroup. */
  readonly lanes: number;
  /** Subgroups across, and fragments of one across and down. */
  readonly across: number;
  readonly fragmentsAcross: number;
  readonly fragmentsDown: number;
}

/** Invocations of a workgroup. */
export const matrixThreads = ({ lanes, across }: MatrixTile): number => lanes * across * DOWN;
/** Patches of one operand that an invocation passes on from block to block. */
const patchesEach = (tile: MatrixTile): number => (tile.tile * BLOCK_K) / 16 / matrixThreads(tile);

/** A tile of 4 or 8 fragments a side on the device; null where it has no such matrices, or not enough memory. */
export function matrixTile(size: 4 | 8, device: DeviceProfile): MatrixTile | null {
  const { lanes } = matrixSubgroup(device);
  const sides = squareMatrices(device).filter((side) => BLOCK_K % side === 0 && (4 * lanes) % side === 0);
  if (lanes === 0 || sides.length === 0) return null;
  const side = Math.max(...sides);
  const across = size / 2;
  const tile = { side, tile: size * side, lanes, across, fragmentsAcross: 2, fragmentsDown: size / 2 };
  const bytes = 2 * 2 * tile.tile * STRIDE + 4 * across * DOWN * side ** 2;
  const isWhole = Number.isInteger(patchesEach(tile)) && Number.isInteger(side ** 2 / (4 * lanes));
  const isHeld = bytes <= device.maxWorkgroupStorage && matrixThreads(tile) <= device.maxInvocationsPerWorkgroup;
  return isWhole && isHeld ? tile : null;
}

/** Numbers of the patches of an invocation, of a and of b. */
export const matrixPieces = (tile: MatrixTile): { readonly a: number[]; readonly b: number[] } => {
  const each = patchesEach(tile);
  return { a: range(each), b: range(each).map((i) => each + i) };
};

/** WGSL of a module, and what its entry point has: `lane`, `subgroup_here` and `own` are its builtins. */
export const matrixStageWgsl = ({ tile, across, side }: MatrixTile): string => /* wgsl */ `
var<workgroup> stage_a: array<f16, ${tile * STRIDE}>;
var<workgroup> stage_b: array<f16, ${tile * STRIDE}>;
var<workgroup> results: array<f32, ${across * DOWN * side ** 2}>;`;
export const matrixEnables = (device: DeviceProfile): string[] => [
  'f16',
  'subgroups',
  ...matrixSubgroup(device).enables,
  'chromium_experimental_subgroup_matrix',
];
export const matrixEntryWgsl = (tile: MatrixTile, device: DeviceProfile): string => /* wgsl */ `
@compute @workgroup_size(${matrixThreads(tile)}) ${matrixSubgroup(device).attribute}
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup_here: u32,
        @builtin(subgroup_invocation_id) own: u32)`;

const matrix = ({ side }: MatrixTile, kind: 'left' | 'right' | 'result'): string =>
  `subgroup_matrix_${kind}<${kind === 'result' ? 'f32' : 'f16'}, ${side}, ${side}>`;

const eachFragment = (tile: MatrixTile, text: (r: number, c: number) => string): string =>
  lines(tile.fragmentsDown, (r) => lines(tile.fragmentsAcross, (c) => text(r, c)));

/**
 * WGSL: the block of this subgroup, its sums, and of each of an invocation's patches the first row or column (`x_<i>`) and step
 * of k (`step_<i>`) within the tile and block, and `next<i>_0` to `next<i>_3`, one for each step, which are to be loaded.
 */
export const matrixPlacesWgsl = (tile: MatrixTile): string => /* wgsl */ `
  let subgroup = min(subgroup_here, ${tile.across * DOWN - 1}u);
  let block_row = (subgroup / ${tile.across}u) * ${tile.side * tile.fragmentsDown}u;
  let block_column = (subgroup % ${tile.across}u) * ${tile.side * tile.fragmentsAcross}u;
  ${Object.values(matrixPieces(tile))
    .flatMap((numbers) =>
      numbers.map(
        (i, piece) => /* wgsl */ `
  let patch_${i} = ${piece * matrixThreads(tile)}u + lane;
  let x_${i} = 4u * (patch_${i} / ${BLOCK_K / 4}u);
  let step_${i} = 4u * (patch_${i} % ${BLOCK_K / 4}u);
  ${lines(4, (j) => `var next${i}_${j} = vec4h();`)}`,
      ),
    )
    .join('\n')}
  ${eachFragment(tile, (r, c) => `var sum${r}_${c}: ${matrix(tile, 'result')};`)}`;

/** WGSL: the patches to workgroup memory. */
const putWgsl = (tile: MatrixTile): string =>
  Object.entries(matrixPieces(tile))
    .flatMap(([operand, numbers]) =>
      numbers.flatMap((i) =>
        range(4).flatMap((e) =>
          range(4).map(
            (j) => `stage_${operand}[(x_${i} + ${e}u) * ${STRIDE}u + step_${i} + ${j}u] = next${i}_${j}[${e}];`,
          ),
        ),
      ),
    )
    .join('\n');

/** WGSL: a step of k for all fragments. */
function multiply(tile: MatrixTile): string {
  const { side, fragmentsAcross, fragmentsDown } = tile;
  const load = (kind: 'left' | 'right', order: string, stage: string, first: string, i: number): string =>
    `let ${kind}${i} = subgroupMatrixLoad<${matrix(tile, kind)}, ${order}>(&${stage}, (${first} + ${i * side}u) * ${STRIDE}u + step, ${STRIDE}u);`;
  return /* wgsl */ `{
    ${lines(fragmentsDown, (r) => load('left', 'row_major', 'stage_a', 'block_row', r))}
    ${lines(fragmentsAcross, (c) => load('right', 'col_major', 'stage_b', 'block_column', c))}
    ${eachFragment(tile, (r, c) => `sum${r}_${c} = subgroupMatrixMultiplyAccumulate(left${r}, right${c}, sum${r}_${c});`)}
  }`;
}

/** WGSL: the sums over `blocks` blocks of k; `fetch` loads the next one's patches. */
export const matrixSumsWgsl = (tile: MatrixTile, blocks: string, fetch: string): string => /* wgsl */ `
  let blocks = ${blocks};
  ${fetch}
  for (var block = 0u; block < 0xffffffffu; block++) {
    if (block >= blocks) { break; }
    workgroupBarrier();
    ${putWgsl(tile)}
    workgroupBarrier();
    if (block + 1u < blocks) {
      ${fetch}
    }
    for (var s = 0u; s < ${BLOCK_K / tile.side}u; s++) {
      // A product with a constant tells compilers how places are aligned, and they load 16 bytes at once.
      let step = s * ${tile.side}u;
      ${multiply(tile)}
    }
  }`;

/** WGSL: first column in the tile of the four that an invocation stores of the fragments in column `c`. */
export const matrixColumn = ({ side }: MatrixTile, c: number): string =>
  `(block_column + ${c * side}u + (4u * own) % ${side}u)`;

/** WGSL: results leave through workgroup memory; `store` writes `value`, four columns from the above of row `row` of the tile. */
export const matrixStoreWgsl = (tile: MatrixTile, store: (c: number) => string): string => {
  const { side, lanes } = tile;
  const rounds = side ** 2 / (4 * lanes);
  return eachFragment(
    tile,
    (r, c) => /* wgsl */ `
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&results, subgroup * ${side ** 2}u, sum${r}_${c}, ${side}u);
  workgroupBarrier();
  ${lines(
    rounds,
    (round) => /* wgsl */ `{
    let place_here = subgroup * ${side ** 2}u + ${4 * lanes * round}u + 4u * own;
    let row = block_row + ${r * side}u + (${4 * lanes * round}u + 4u * own) / ${side}u;
    let value = vec4f(${range(4)
      .map((e) => `results[place_here + ${e}u]`)
      .join(', ')});
    ${store(c)}
  }`,
  )}`,
  );
};
