import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { f32, input, output, require, u32 } from '../lib/kernel.ts';
import type { Binding, BindingRange, Cost, Uniforms } from '../lib/kernel.ts';
import { bytesOfElement } from '../lib/f16-storage.ts';
import type { RowSums, TileSize } from '../lib/product-tile.ts';
import { epilogueBindings } from './epilogue.ts';
import type { Epilogue } from './epilogue.ts';

/** Sizes, layouts and storage of a product: see index.ts. */
export interface MatmulProblem {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: MatmulOperand;
  readonly b: MatmulOperand;
  readonly y: MatmulTarget;
  /** Batch axes, outermost first. */
  readonly batch?: readonly BatchAxis[];
  /** Factor of the sum; 1 if left out. */
  readonly scale?: number;
  readonly epilogue?: Epilogue;
  /** Also writes row_sums[i] = sum_k a[i, k] (m elements), or adds it as to y: the bias gradient, where a is dy^T. One batch only. */
  readonly rowSums?: boolean;
  /** Parts of the bindings, where one launch cannot bind them whole (see product-plan.ts). */
  readonly ranges?: Readonly<Record<string, BindingRange>>;
  /**
   * Bindings that hold f16, for example a, b and y: they are converted to f32 where they are loaded, and rounded where
   * they are stored. The others hold f32; bias gradients and parts of sums always do.
   */
  readonly f16?: readonly F16Binding[];
}

export type F16Binding = 'a' | 'b' | 'y' | 'bias' | 'residual' | 'pre' | 'activated';

export interface MatmulTarget {
  /** Elements from one stored row to the next. */
  readonly ld: number;
  /** Elements before the first one. */
  readonly offset?: number;
}

export interface MatmulOperand extends MatmulTarget {
  /** a is stored as [k, m], or b as [n, k]. */
  readonly transposed: boolean;
  /** Stored rows end in zeros that fill up whole vectors of 4 (along k). */
  readonly padded?: boolean;
}

/** Elements of a packed row or column: k, in whole vectors. */
export const packedLength = (k: number): number => 4 * ceilDiv(k, 4);

/** A packed operand, as the product that follows sees it. */
export const packedOperand = (of: 'a' | 'b', k: number): MatmulOperand => ({
  ld: packedLength(k),
  transposed: of === 'b',
  padded: true,
});

/** Which operands are packed before the product. */
export type Packed = 'b' | 'ab';

/** The product that is left: rows of a or columns of b, in whole vectors along k. */
export function packedProblem(problem: MatmulProblem, operands: Packed): MatmulProblem {
  const b = packedOperand('b', problem.k);
  return operands === 'b' ? { ...problem, b } : { ...problem, a: packedOperand('a', problem.k), b };
}

/** Elements from one index to the next in each operand: 0 where it broadcasts; 0 in y sums over the axis. */
export interface BatchAxis {
  readonly size: number;
  readonly a: number;
  readonly b: number;
  readonly y: number;
}

/** A product as tiles compute it: the indices of its one batch axis may be parts of the sum over k (split-k.ts). */
export interface TiledProblem extends MatmulProblem {
  /** Steps of k in a part; the last one has what is left. */
  readonly part?: number;
}

/** Bindings in the order of the WGSL; `elements` are the element types of the arrays. */
export function matmulBindings(problem: MatmulProblem, elements: { a: string; b: string; y: string }): Binding[] {
  return [
    input('a', elements.a),
    input('b', elements.b),
    output('y', elements.y),
    ...epilogueBindings(problem.epilogue ?? {}, elements.y),
    ...(problem.rowSums ? [output('row_sums')] : []),
  ];
}

export interface Tiling {
  readonly tiles: number;
  readonly tilesM: number;
  readonly tilesN: number;
}

/** Tiles of `rows` x `columns` over all batches. */
export function tiling(problem: MatmulProblem, rows: number, columns: number): Tiling {
  const tilesM = ceilDiv(problem.m, rows);
  const tilesN = ceilDiv(problem.n, columns);
  return { tilesM, tilesN, tiles: tilesM * tilesN * batchSize(problem) };
}

export const batchSize = (problem: MatmulProblem): number =>
  (problem.batch ?? []).reduce((product, axis) => product * axis.size, 1);

export const resultOf = ({ m, n }: MatmulProblem): TileSize => ({ rows: m, columns: n });

export const tileGrid = (tiles: Tiling, device: DeviceProfile) => foldGrid(tiles.tiles, device);

const NO_AXIS: BatchAxis = { size: 1, a: 0, b: 0, y: 0 };

/** Uniforms that every variant shares; at most two batch axes (see product-plan.ts). Strides are in elements. */
export function matmulUniforms(problem: TiledProblem, tiles: Tiling): Uniforms {
  const { a, b, y, batch = [], part } = problem;
  const inner = batch.at(-1) ?? NO_AXIS;
  const outer = batch.at(-2) ?? NO_AXIS;
  return {
    m: u32(problem.m),
    n: u32(problem.n),
    k: u32(problem.k),
    ...(part !== undefined && { part: u32(part) }),
    tiles: u32(tiles.tiles),
    tiles_m: u32(tiles.tilesM),
    tiles_n: u32(tiles.tilesN),
    batch_inner: u32(inner.size),
    a_ld: u32(a.ld),
    a_offset: u32(a.offset ?? 0),
    a_outer: u32(outer.a),
    a_inner: u32(inner.a),
    b_ld: u32(b.ld),
    b_offset: u32(b.offset ?? 0),
    b_outer: u32(outer.b),
    b_inner: u32(inner.b),
    y_ld: u32(y.ld),
    y_offset: u32(y.offset ?? 0),
    y_outer: u32(outer.y),
    y_inner: u32(inner.y),
    scale: f32(problem.scale ?? 1),
  };
}

/** Where a workgroup's tile lies: its tile row and column, and the first elements of its batch in each operand. */
export const placeWgsl = /* wgsl */ `
${linearWorkgroupWgsl}
struct Place { row: u32, column: u32, batch: u32, a: u32, b: u32, y: u32 }
fn place(tile: u32) -> Place {
  let t = tile / params.tiles_n;
  let z = t / params.tiles_m;
  let outer = z / params.batch_inner;
  let inner = z % params.batch_inner;
  return Place(
    t % params.tiles_m, tile % params.tiles_n, z,
    params.a_offset + outer * params.a_outer + inner * params.a_inner,
    params.b_offset + outer * params.b_outer + inner * params.b_inner,
    params.y_offset + outer * params.y_outer + inner * params.y_inner);
}
`;

/** WGSL: declares `k_end`, the steps of k that a tile at place `at` sums over. */
export const endOfK = ({ part }: TiledProblem): string =>
  `let k_end = ${part === undefined ? 'params.k' : 'min(params.part, params.k - at.batch * params.part)'};`;

/** WGSL: the sum of a row of a to row_sums. */
export const storeRowSum = ({ epilogue = {} }: MatmulProblem, at: string, sum: string): string =>
  `row_sums[${at}] ${epilogue.accumulate ? '+=' : '='} ${sum};`;

/** Row sums of a tile whose first row is `origin_a`: the tiles of the first column take them. */
export const rowSumsOfTile = (problem: TiledProblem): RowSums | null =>
  problem.rowSums
    ? {
        when: 'at.column == 0u',
        store: (row, sum) =>
          `if (origin_a + ${row} < params.m) { ${storeRowSum(problem, `at.batch * params.m + origin_a + ${row}`, sum)} }`,
      }
    : null;

export function matmulCost(problem: TiledProblem): Cost {
  const { m, n, k, f16, part, epilogue = {}, rowSums = false } = problem;
  const results = batchSize(problem);
  // Parts of a sum share its operands out.
  const products = part === undefined ? results : 1;
  const operands = bytesOfElement(f16, 'a') * m * k + bytesOfElement(f16, 'b') * k * n;
  const { accumulate, residual, geluGradient, gelu } = epilogue;
  // What lies like y and is read or written.
  const like = ['y', accumulate && 'y', residual && 'residual', geluGradient && 'pre', gelu && 'activated'];
  const result = like.reduce((sum, name) => sum + (name ? bytesOfElement(f16, name) : 0), 0);
  return {
    flops: 2 * m * n * k * products,
    bytes: products * operands + results * (result * m * n + (rowSums ? 4 * m : 0)),
  };
}

export function checkMatmul(problem: MatmulProblem): void {
  const { m, n, k, a, b, y } = problem;
  require(m > 0 && n > 0 && k > 0, 'matmul', 'sizes of at least 1', { m, n, k });
  require(a.ld >= (a.transposed ? m : k), 'matmul', 'rows of a that do not overlap', a);
  require(b.ld >= (b.transposed ? k : n), 'matmul', 'rows of b that do not overlap', b);
  require(y.ld >= n, 'matmul', 'rows of y that do not overlap', y);
  const sums = (problem.batch ?? []).some((axis) => axis.y === 0 && axis.size > 1);
  const { epilogue = {} } = problem;
  const { accumulate, ...others } = epilogue;
  const linear = !Object.values(others).includes(true);
  require(!sums || linear, 'matmul', 'no epilogue where batches are summed', epilogue);
  require(linear || !accumulate, 'matmul', 'an epilogue of what is written, not added', epilogue);
  const one = batchSize(problem) === 1;
  require(one || !epilogue.rowScale, 'matmul', 'scales of the rows of one matrix', problem);
  const whole = !problem.rowSums || (one && !epilogue.rowScale);
  require(whole, 'matmul', 'row sums of one matrix, and no scales of its rows', problem);
}
