import { ceilDiv } from '../lib/device.ts';
import { lines, range } from '../lib/unroll.ts';

/*
 * The inner part of kernels for software adapters whose lanes own rows: see subgroup-rows.ts. A lane holds a block of
 * k of its rows in `left`; `column` after column is loaded by all lanes together and multiplied with all rows.
 */

/** Longest block of k: with 8 rows half of the first-level data cache, and a turn's code fits that for instructions. */
const MAX_BLOCK_K = 64;
/** Most rows a lane: their sums take half of a processor's vector registers. */
export const MAX_ROWS = 8;
/** What loading a column for all lanes costs, in rows' worth of arithmetic. */
const COLUMN_COST = 3;
/** Most columns of a tile. */
export const MAX_COLUMNS = 256;
/** Tiles that keep the cores of a processor busy. */
const BUSY_TILES = 16;

export interface RowTile {
  /** Rows a lane. */
  readonly rows: number;
  /** Elements of k in a block: whole vectors, if those are loaded. */
  readonly blockK: number;
}

/** Columns of a tile, given how many tiles there are of rows: n in equal parts, whole vectors. */
export function columnsOfTile(n: number, tilesOfRows: number): number {
  const parts = Math.max(ceilDiv(n, MAX_COLUMNS), Math.min(ceilDiv(n, 64), ceilDiv(BUSY_TILES, tilesOfRows)));
  return 4 * ceilDiv(n, 4 * parts);
}

/** Elements of k in a block: parts of k of about the same length. */
function blockOf(k: number, vectors: boolean): number {
  const unit = vectors ? 4 : 1;
  return unit * ceilDiv(k, unit * ceilDiv(k, MAX_BLOCK_K));
}

export interface RowTileProblem {
  readonly m: number;
  readonly k: number;
  readonly lanes: number;
  /** Whether blocks are whole vectors; yes if left out. */
  readonly vectors?: boolean;
  /** What the rows of a lane are a multiple of; 1 if left out. */
  readonly multiple?: number;
}

/** The tile for m rows of k elements; with rows a lane as `wanted`, or those of least work, rows past the end included. */
export function rowTile({ m, k, lanes, vectors = true, multiple = 1 }: RowTileProblem, wanted?: number): RowTile {
  const blockK = blockOf(k, vectors);
  if (wanted !== undefined) return { rows: wanted, blockK };
  let rows = multiple;
  let least = Infinity;
  for (let candidate = multiple; candidate <= MAX_ROWS; candidate += multiple) {
    const work = ceilDiv(m, lanes * candidate) * (candidate + COLUMN_COST);
    if (work <= least) [rows, least] = [candidate, work];
  }
  return { rows, blockK };
}

export interface RowProducts {
  /** Arrays that cache a block of the rows, their sums, by column, and this lane's parts of a column's block. */
  readonly declarations: string;
  /**
   * Caches the block that starts at `k`: `load` is WGSL for what row (or vector of rows) `r` has `e` elements into it;
   * `start` begins a row, `step` follows each load.
   */
  cacheRows(load: string, around?: { readonly start?: string; readonly step?: string }): string;
  /** Adds what is cached of each row to its element of the array `sums`. */
  sumRows(sums: string): string;
  /**
   * For the block that starts at `k`: a loop over `width` columns that adds to sums. `load(part)` is WGSL for what lies
   * `part` vectors (or elements) into the block of `column`.
   */
  multiply(load: (part: string) => string): string;
  /** A loop over the columns c ... c + 3 and the rows r of the results, whose sums are `four`. */
  results(column: string, row: string): string;
}

export interface RowProductsOptions {
  /** Most columns of a tile. */
  readonly columns: number;
  /**
   * How rows are loaded: in vectors of four elements along k, in vectors across four rows, or in single elements; and
   * whether columns are loaded in vectors along k. All along k if left out.
   */
  readonly vectors?: { readonly rows: 'along' | 'across' | 'none'; readonly columns: boolean };
}

/**
 * The code for a tile. Each row has sums of its own, since arrays begin as zeros: the software adapter writes these one
 * by one, and compiling that takes time with the square of their number in an array.
 */
export function rowProducts(
  { rows, blockK }: RowTile,
  lanes: number,
  { columns, vectors = { rows: 'along', columns: true } }: RowProductsOptions,
): RowProducts {
  const parts = vectors.columns ? blockK / 4 : blockK;
  const loads = ceilDiv(parts, lanes);
  const wide = vectors.columns ? 4 : 1;
  const element = (k: number): string => {
    const part = Math.floor(k / wide);
    return `subgroupBroadcast(own[${Math.floor(part / lanes) * wide + (k % wide)}], ${part % lanes}u)`;
  };
  const each = (text: (r: number) => string): string => range(rows).map(text).join(' ');
  // Rows, or vectors of four of them, which are loaded together.
  const across = vectors.rows === 'across';
  const keep = (value: string): string => {
    if (vectors.rows === 'none') return `left[r * ${blockK} + e] = ${value};`;
    const place = (i: number): string => (across ? `(4 * r + ${i}) * ${blockK} + e` : `r * ${blockK} + e + ${i}`);
    return `let value = ${value}; ${lines(4, (i) => `left[${place(i)}] = value[${i}];`)}`;
  };
  return {
    declarations: /* wgsl */ `
var left: array<f32, ${rows * blockK}>;
${lines(rows, (r) => `var sums${r}: array<f32, ${columns + 1}>;`)}
// Written at an index that the compiler does not know, so that it stays in memory: one instruction loads and broadcasts.
var own: array<f32, ${loads * wide}>;
own[params.block_k / ${blockK + 1}u] = 0.0;
${lines(loads, (g) => `let part${g} = min(${g * lanes}u + lane, ${parts - 1}u);`)}`,
    cacheRows: (load, { start = '', step = '' } = {}) => /* wgsl */ `
for (var r = 0u; r < params.rows${across ? ' / 4' : ''}; r++) {
${start}
for (var e = 0u; e < params.block_k; e += ${vectors.rows === 'along' ? 4 : 1}) {
${keep(load)}
${step}
}
}`,
    sumRows: (sums) => /* wgsl */ `
for (var r = 0u; r < params.rows; r++) {
var part_sum = 0.0;
for (var e = 0u; e < params.block_k; e++) { part_sum += left[r * ${blockK} + e]; }
${sums}[r] += part_sum;
}`,
    // A turn multiplies the column that the turn before loaded. What the first one adds to the sums is not used.
    multiply: (load) => /* wgsl */ `
for (var turn = 0u; turn <= width; turn++) {
${each((r) => `var sum${r} = 0.0;`)}
${lines(blockK, (k) => `let b${k} = ${element(k)}; ${each((r) => `sum${r} += left[${r * blockK + k}] * b${k};`)}`)}
// Two branches: with one addition the compiler computes the sums one after the other, waiting for each product.
if (k == 0) { ${each((r) => `sums${r}[turn] = sum${r};`)} }
else { ${each((r) => `sums${r}[turn] += sum${r};`)} }
let column = min(turn, width - 1);
${lines(loads, (g) => {
  const place = (i: number): string => `own[${g * wide + i}] = value${vectors.columns ? `[${i}]` : ''};`;
  return `{ let value = ${load(`part${g}`)}; ${range(wide).map(place).join(' ')} }`;
})}
}`,
    // Columns outside, rows inside: the other way round takes three times as long to compile.
    results: (column, row) => /* wgsl */ `
var block: array<vec4f, ${rows}>;
for (var c = 0u; c < width; c += 4) {
${column}
${lines(rows, (r) => `block[${r}] = vec4f(sums${r}[c + 1], sums${r}[c + 2], sums${r}[c + 3], sums${r}[c + 4]);`)}
for (var r = 0u; r < params.rows; r++) {
let four = block[r];
${row}
}
}`,
  };
}
