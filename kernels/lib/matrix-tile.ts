import { matrixSubgroup, squareMatrices } from './device.ts';
import type { DeviceProfile } from './device.ts';
import type { RowSums } from './product-tile.ts';
import { lines, range } from './unroll.ts';

/*
 * A tile of a product of two matrices in f16, a [rows, k] by b [k, columns] with sums in f32, on a GPU whose subgroups
 * multiply matrices (tensor cores). Each subgroup of the workgroup computes a block of fragments, whose sums stay in registers.
 * Blocks of BLOCK_K steps of k pass through workgroup memory; the loads of the next one are under way while this one is
 * multiplied.
 *
 * Both operands are loaded as patches of 4 x 4, as in product-tile.ts, and turned on their way to workgroup memory where they do
 * not lie along k, so that it holds [row or column][k]: a lane's part of a fragment lies together there. Until then they stay as
 * they were loaded: an instruction that touched them before the products would wait for them. Rows in it are PADDING elements longer than they need
 * to be, so that those of a fragment begin in different banks.
 */

/** Steps of k that pass through workgroup memory together. */
export const BLOCK_K = 32;
const PADDING = 8;
const STRIDE = BLOCK_K + PADDING;
/** Subgroups down a tile. */
const DOWN = 2;

export interface MatrixTile {
  /** Side of a fragment. */
  readonly side: number;
  /** Rows and columns of the result. */
  readonly rows: number;
  readonly columns: number;
  /** Lanes of a subgroup. */
  readonly lanes: number;
  /** Subgroups across, and fragments of one across and down. */
  readonly across: number;
  readonly fragmentsAcross: number;
  readonly fragmentsDown: number;
}

/** Invocations of a workgroup. */
export const matrixThreads = ({ lanes, across }: MatrixTile): number => lanes * across * DOWN;
/** Patches of an operand with `size` rows or columns that an invocation passes on from block to block. */
const patchesEach = (tile: MatrixTile, size: number): number => (size * BLOCK_K) / 16 / matrixThreads(tile);

/** A tile of 4 or 8 fragments down and across on the device; null where it has no such matrices, or not enough memory. */
export function matrixTile(down: 4 | 8, across: 4 | 8, device: DeviceProfile): MatrixTile | null {
  const { lanes } = matrixSubgroup(device);
  const sides = squareMatrices(device).filter((side) => BLOCK_K % side === 0 && (4 * lanes) % side === 0);
  if (lanes === 0 || sides.length === 0) return null;
  const side = Math.max(...sides);
  const tile: MatrixTile = {
    side,
    rows: down * side,
    columns: across * side,
    lanes,
    across: across / 2,
    fragmentsAcross: 2,
    fragmentsDown: down / 2,
  };
  const bytes = 2 * (tile.rows + tile.columns) * STRIDE + 4 * tile.across * DOWN * side ** 2;
  const patches = [tile.rows, tile.columns].map((size) => patchesEach(tile, size));
  const isWhole = [...patches, side ** 2 / (4 * lanes)].every(Number.isInteger);
  const isHeld = bytes <= device.maxWorkgroupStorage && matrixThreads(tile) <= device.maxInvocationsPerWorkgroup;
  return isWhole && isHeld ? tile : null;
}

/** Numbers of the patches of an invocation, of a and of b. */
export const matrixPieces = (tile: MatrixTile): { readonly a: number[]; readonly b: number[] } => {
  const [ofA, ofB] = [tile.rows, tile.columns].map((size) => patchesEach(tile, size));
  return { a: range(ofA), b: range(ofB).map((i) => ofA + i) };
};

/** WGSL of a module, and what its entry point has: `lane`, `subgroup_here` and `own` are its builtins. */
export const matrixStageWgsl = ({ rows, columns, across, side }: MatrixTile): string => /* wgsl */ `
var<workgroup> stage_a: array<f16, ${rows * STRIDE}>;
var<workgroup> stage_b: array<f16, ${columns * STRIDE}>;
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
 * of k (`step_<i>`) within the tile and block, and `next<i>_0` to `next<i>_3`, which are to be loaded: vectors of four steps, one
 * for each row or column, where the operand lies along k; else vectors of four rows or columns, one for each step.
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
  ${lines(4, (j) => `var held${i}_${j} = vec2u();`)}`,
      ),
    )
    .join('\n')}
  ${eachFragment(tile, (r, c) => `var sum${r}_${c}: ${matrix(tile, 'result')};`)}`;

/** Whether vectors of an operand are loaded along k. */
export type AlongK = Readonly<Record<'a' | 'b', boolean>>;

/** Vectors of all patches of an invocation. */
const eachVector = (tile: MatrixTile, text: (vector: string) => string): string => {
  const { a, b } = matrixPieces(tile);
  return [...a, ...b].map((i) => lines(4, (j) => text(`${i}_${j}`))).join('\n');
};

/** WGSL: `fetch` into the words that are held until the next block. */
const fetchWgsl = (tile: MatrixTile, fetch: string): string => /* wgsl */ `
      ${eachVector(tile, (v) => `var next${v} = vec4h();`)}
      ${fetch}
      ${eachVector(tile, (v) => `held${v} = bitcast<vec2u>(next${v});`)}`;

/** WGSL: the patches to workgroup memory. */
const putWgsl = (tile: MatrixTile, alongK: AlongK, rowSums: RowSums | null): string => /* wgsl */ `
    ${eachVector(tile, (v) => `let next${v} = bitcast<vec4h>(held${v});`)}
    ${storesWgsl(tile, alongK)}
    ${rowSums ? `if (${rowSums.when}) { ${addToRowsWgsl(tile, alongK)} }` : ''}`;

/** WGSL: adds the patches of a, whose vectors are of one row where they lie along k, else of four. */
const addToRowsWgsl = (tile: MatrixTile, alongK: AlongK): string =>
  matrixPieces(tile)
    .a.map((i) => {
      const [p, q, r, s] = range(4).map((j) =>
        alongK.a
          ? `vec4f(${range(4)
              .map((e) => `f32(next${i}_${e}[${j}])`)
              .join(', ')})`
          : `vec4f(next${i}_${j})`,
      );
      return `rows_${i} += (${p} + ${q}) + (${r} + ${s});`;
    })
    .join('\n');

/** WGSL: adds up what invocations have of the same rows, through workgroup memory, a piece at a time. */
const rowSumsWgsl = (tile: MatrixTile, { when, store }: RowSums): string => {
  const fours = BLOCK_K / 4;
  const rows = (4 * matrixThreads(tile)) / fours;
  const piece = (i: number): string => /* wgsl */ `
    workgroupBarrier();
    ${lines(4, (e) => `results[4u * lane + ${e}u] = rows_${i}[${e}];`)}
    workgroupBarrier();
    if (lane < ${rows}u) {
      let first = ${4 * fours}u * (lane / 4u) + lane % 4u;
      let sum = ${range(fours)
        .map((four) => `results[first + ${4 * four}u]`)
        .join(' + ')};
      ${store(`(${i * rows}u + lane)`, 'sum')}
    }`;
  return `if (${when}) { ${matrixPieces(tile).a.map(piece).join('\n')} }`;
};

const storesWgsl = (tile: MatrixTile, alongK: AlongK): string =>
  (['a', 'b'] as const)
    .flatMap((operand) =>
      matrixPieces(tile)[operand].flatMap((i) =>
        range(4).flatMap((e) =>
          range(4).map((j) => {
            const value = alongK[operand] ? `next${i}_${e}[${j}]` : `next${i}_${j}[${e}]`;
            return `stage_${operand}[(x_${i} + ${e}u) * ${STRIDE}u + step_${i} + ${j}u] = ${value};`;
          }),
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

/** WGSL: the sums over `blocks` blocks of k; `fetch` loads the next one's patches. And those of a's rows, if wanted. */
export const matrixSumsWgsl = (
  tile: MatrixTile,
  alongK: AlongK,
  blocks: string,
  fetch: string,
  rowSums: RowSums | null = null,
): string => /* wgsl */ `
  ${rowSums ? lines(matrixPieces(tile).a.length, (i) => `var rows_${i} = vec4f();`) : ''}
  let blocks = ${blocks};
  {
    ${fetchWgsl(tile, fetch)}
  }
  for (var block = 0u; block < 0xffffffffu; block++) {
    if (block >= blocks) { break; }
    workgroupBarrier();
    ${putWgsl(tile, alongK, rowSums)}
    workgroupBarrier();
    if (block + 1u < blocks) {
      ${fetchWgsl(tile, fetch)}
    }
    for (var s = 0u; s < ${BLOCK_K / tile.side}u; s++) {
      // A product with a constant tells compilers how places are aligned, and they load 16 bytes at once.
      let step = s * ${tile.side}u;
      ${multiply(tile)}
    }
  }
  ${rowSums ? rowSumsWgsl(tile, rowSums) : ''}`;

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
