import { ceilDiv, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
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
} from './matrix-tile.ts';
import type { AlongK, MatrixTile } from './matrix-tile.ts';
import {
  BLOCK_K,
  BUSY_INVOCATIONS,
  LARGE_TILE,
  SMALL_TILE,
  fills,
  invocations,
  ofOperand,
  pieces,
  placesWgsl,
  resultRows,
  square,
  stageWgsl,
  sumsWgsl,
  tileBytes,
} from './product-tile.ts';
import type { TileSize } from './product-tile.ts';
import { range } from './unroll.ts';
import type { Use } from './variant.ts';

/*
 * The tiles in which convolutions are computed as products of matrices on GPUs: those of product-tile.ts, or of
 * matrix-tile.ts where operands are f16 and subgroups multiply matrices. A scheme is the frame of a kernel; which elements the
 * operands have, and where results go, is the kernel's own.
 */

/** WGSL of a kernel. Patches are 4 x 4 elements of an operand, `a` of rows or `b` of columns, numbered. */
export interface ProductCode {
  /** Where the tile of a workgroup lies, and whatever patches share. */
  readonly origin: string;
  /** Operands whose vectors are loaded along k: in f16 they are left as they lie (matrix-tile.ts), in f32 turned. */
  readonly alongK: AlongK;
  /** Declares what a patch is found by, finds its first one, and loads the one it is at into `next<i>_0` to `next<i>_3`. */
  readonly declare: (i: number) => string;
  readonly locate: (operand: 'a' | 'b', i: number) => string;
  readonly load: (operand: 'a' | 'b', i: number) => string;
  /** A block: the loads of all patches of an invocation, and on to the next ones. */
  readonly fetch: (loads: readonly string[]) => string;
  /** Expression: blocks of k. */
  readonly blocks: string;
  /** Finds the places of result vectors from their first columns in the tile. */
  readonly place: (columns: readonly string[]) => string;
  /** Stores vectors of a row of the tile, by the numbers of their columns. */
  readonly store: (row: string, sums: ReadonlyMap<number, string>) => string;
}

/** Tiles of a kind: for f32 without matrix units, or for f16 with them. */
export interface Scheme {
  readonly name: string;
  /** Side of a tile. */
  readonly tile: number;
  readonly threads: number;
  /** Steps of k that pass through workgroup memory together. Those of all patches of an invocation are the same. */
  readonly block: number;
  /** Of what is loaded. */
  readonly type: 'vec4f' | 'vec4h';
  readonly enables: readonly string[];
  readonly wgsl: (code: ProductCode) => string;
}

/** As variants are called, in order of preference; null where the device cannot have such tiles. */
export interface SchemeChoice {
  readonly name: string;
  readonly schemeOf: (device: DeviceProfile) => Scheme | null;
}

/** How the tiles of a scheme are used, by themselves, for `count` results of this size. */
export function useOfTiles({ tile, threads }: Scheme, result: TileSize, count: number): Use {
  if (tile <= SMALL_TILE) return 'default';
  const tiles = count * ceilDiv(result.rows, tile) * ceilDiv(result.columns, tile);
  const isBusy = tiles * threads >= BUSY_INVOCATIONS;
  return isBusy && fills(result, square(tile), square(SMALL_TILE)) ? 'default' : 'tuned';
}

const registers = (tile: number): SchemeChoice => ({
  name: `implicit_${tile}x${tile}`,
  schemeOf: ({ maxWorkgroupStorage, maxInvocationsPerWorkgroup }) =>
    tileBytes(tile) <= maxWorkgroupStorage && invocations(tile) <= maxInvocationsPerWorkgroup
      ? inRegisters(tile)
      : null,
});
const matrices = (name: string, size: 4 | 8): SchemeChoice => ({
  name,
  schemeOf: (device) => {
    const tile = matrixTile(size, size, device);
    return tile && inMatrices(tile, device);
  },
});

export const productSchemes: readonly SchemeChoice[] = [
  matrices('implicit_matrix_large', 8),
  matrices('implicit_matrix', 4),
  registers(LARGE_TILE),
  registers(SMALL_TILE),
];

const inRegisters = (tile: number): Scheme => ({
  name: `implicit_${tile}x${tile}`,
  tile,
  threads: invocations(tile),
  block: BLOCK_K,
  type: 'vec4f',
  enables: [],
  wgsl: (code) => {
    const patches = pieces(tile);
    const place = patches.map(
      (i) => `${code.declare(i)} ${ofOperand(tile, i, (operand) => `{ ${code.locate(operand, i)} }`)}`,
    );
    const loads = patches.map((i) => ofOperand(tile, i, (operand) => code.load(operand, i)));
    const rows = resultRows(tile);
    const stores = rows.map(({ row, vectors }) => code.store(row, new Map(vectors.map(({ sum }, c) => [c, sum]))));
    return /* wgsl */ `
${linearWorkgroupWgsl}
${stageWgsl(tile)}
@compute @workgroup_size(${invocations(tile)})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  ${code.origin}
  ${placesWgsl(tile)}
  ${place.join('\n')}
  ${sumsWgsl(tile, code.blocks, code.fetch(loads))}
  ${code.place(rows[0].vectors.map(({ column }) => column))}
  ${stores.join('\n  ')}
}`;
  },
});

const inMatrices = (tile: MatrixTile, device: DeviceProfile): Scheme => ({
  name: `implicit_matrix_${tile.rows}x${tile.columns}`,
  tile: tile.rows,
  threads: matrixThreads(tile),
  block: MATRIX_BLOCK_K,
  type: 'vec4h',
  enables: matrixEnables(device),
  wgsl: (code) => {
    const { a, b } = matrixPieces(tile);
    const patches = [...a.map((i) => ['a', i] as const), ...b.map((i) => ['b', i] as const)];
    const loads = patches.map(([operand, i]) => code.load(operand, i));
    return /* wgsl */ `
${linearWorkgroupWgsl}
${matrixStageWgsl(tile)}
${matrixEntryWgsl(tile, device)} {
  ${code.origin}
  ${matrixPlacesWgsl(tile)}
  ${patches.map(([operand, i]) => `${code.declare(i)} { ${code.locate(operand, i)} }`).join('\n')}
  ${matrixSumsWgsl(tile, code.alongK, code.blocks, code.fetch(loads))}
  ${code.place(range(tile.fragmentsAcross).map((c) => matrixColumn(tile, c)))}
  ${matrixStoreWgsl(tile, (c) => code.store('row', new Map([[c, 'value']])))}
}`;
  },
});
