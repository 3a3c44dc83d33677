import { ceilDiv } from '../device.ts';
import { lines, range } from '../unroll.ts';

/*
 * The inner part of kernels for software adapters whose lanes own rows: see subgroup-rows.ts. A lane holds a stretch of
 * k of its rows in `left`; `column` after column is loaded by all lanes together and multiplied with all rows.
 */

/** Multiplications in the unrolled code, beyond which it falls out of the instruction cache. */
const MAX_UNROLLED = 832;
/** Longest stretch of k; with 8 rows, what the first-level data cache holds beside the sums. */
const MAX_STRETCH = 104;
const MAX_ROWS = 8;
/** What bringing a column to all lanes costs, in rows' worth of arithmetic. */
const COLUMN_COST = 3;
/** Columns a workgroup takes. */
export const COLUMNS = 64;

export interface RowTile {
  /** Rows a lane. */
  readonly rows: number;
  /** Elements of k in a stretch: whole vectors, if those are loaded. */
  readonly stretch: number;
}

/** Elements of k in a stretch: parts of k of about the same length. */
function stretchOf(k: number, vectors: boolean): number {
  const unit = vectors ? 4 : 1;
  return unit * ceilDiv(k, unit * ceilDiv(k, MAX_STRETCH));
}

/** The most rows that a lane can own of matrices with k elements in a row. */
export const mostRows = (k: number, vectors = true): number =>
  Math.min(MAX_ROWS, Math.floor(MAX_UNROLLED / stretchOf(k, vectors)));

/** Rows a lane for m rows of k elements, if not given: least work, rows past the end included. */
export function rowTile(m: number, k: number, lanes: number, vectors = true, wanted?: number): RowTile {
  const stretch = stretchOf(k, vectors);
  if (wanted !== undefined) return { rows: wanted, stretch };
  let rows = 1;
  let least = Infinity;
  for (let candidate = 1; candidate <= mostRows(k, vectors); candidate++) {
    const work = ceilDiv(m, lanes * candidate) * (candidate + COLUMN_COST);
    if (work <= least) [rows, least] = [candidate, work];
  }
  return { rows, stretch };
}

export interface RowProducts {
  /** Arrays left[row][k] and sums[column][row], and this lane's parts of a column's stretch. */
  readonly declarations: string;
  /**
   * For the stretch that starts at `k`: a loop over `width` columns that adds to sums. `load(part)` is WGSL for what lies
   * `part` vectors (or elements) into the stretch of the current `column`.
   */
  multiply(load: (part: string) => string): string;
  /** The sums of columns c ... c + 3 of row r, as WGSL. */
  readonly four: string;
}

/** `vectors`: columns are loaded in vectors of four elements along k, else in single elements. */
export function rowProducts({ rows, stretch }: RowTile, lanes: number, vectors = true): RowProducts {
  const parts = vectors ? stretch / 4 : stretch;
  const loads = ceilDiv(parts, lanes);
  const element = (k: number): string => {
    const part = vectors ? Math.floor(k / 4) : k;
    return `subgroupBroadcast(own${Math.floor(part / lanes)}${vectors ? `[${k % 4}]` : ''}, ${part % lanes}u)`;
  };
  const each = (text: (r: number) => string): string => range(rows).map(text).join(' ');
  const sum = (j: number): string => `sums[c * ${rows} + r + ${j * rows}]`;
  return {
    declarations: /* wgsl */ `
var left: array<f32, ${rows * stretch}>;
var sums: array<f32, ${rows * COLUMNS}>;
${lines(loads, (g) => `let part${g} = min(${g * lanes}u + lane, ${parts - 1}u);`)}`,
    multiply: (load) => /* wgsl */ `
for (var column = 0u; column < width; column++) {
${lines(loads, (g) => `let own${g} = ${load(`part${g}`)};`)}
${each((r) => `var sum${r} = 0.0;`)}
${lines(stretch, (k) => `let b${k} = ${element(k)}; ${each((r) => `sum${r} += left[${r * stretch + k}] * b${k};`)}`)}
let place = column * ${rows};
// Two branches: with one addition the compiler computes the sums one after the other, waiting for each product.
if (k == 0) { ${each((r) => `sums[place + ${r}] = sum${r};`)} }
else { ${each((r) => `sums[place + ${r}] += sum${r};`)} }
}`,
    four: `vec4f(${range(4).map(sum).join(', ')})`,
  };
}
