import { ceilDiv } from '../device.ts';

/*
 * The inner part of kernels for software adapters whose lanes own rows: see subgroup-rows.ts. A lane holds a stretch of
 * k of its rows in `left`; `column` after column is loaded by all lanes together and multiplied with all rows.
 */

/** Multiplications in the unrolled code, beyond which it falls out of the instruction cache. */
const MAX_UNROLLED = 768;
/** Longest stretch of k; with 8 rows, what the first-level data cache holds beside the sums. */
const MAX_STRETCH = 96;
const MAX_ROWS = 8;
/** What bringing a column to all lanes costs, in rows' worth of arithmetic. */
const COLUMN_COST = 3;
/** Columns a workgroup takes. */
export const COLUMNS = 64;

export interface RowTile {
  /** Rows a lane. */
  readonly rows: number;
  /** Elements of k in a stretch, a multiple of 4. */
  readonly stretch: number;
}

/** Rows a lane for m rows of k elements: least work, rows past the end included. */
export function rowTile(m: number, k: number, lanes: number): RowTile {
  const stretch = 4 * ceilDiv(k, 4 * ceilDiv(k, MAX_STRETCH));
  let rows = 1;
  let least = Infinity;
  for (let candidate = 1; candidate <= Math.min(MAX_ROWS, Math.floor(MAX_UNROLLED / stretch)); candidate++) {
    const work = ceilDiv(m, lanes * candidate) * (candidate + COLUMN_COST);
    if (work <= least) [rows, least] = [candidate, work];
  }
  return { rows, stretch };
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const lines = (count: number, line: (i: number) => string): string => range(count).map(line).join('\n');

export interface RowProducts {
  /** Arrays left[row][k] and sums[column][row], and this lane's vectors of a column's stretch. */
  readonly declarations: string;
  /**
   * For the stretch that starts at `k`: a loop over `width` columns that adds to sums. `vector(part)` is WGSL for the
   * vec4f of the current `column` that begins `part` vectors into the stretch.
   */
  multiply(vector: (part: string) => string): string;
  /** The sums of columns c ... c + 3 of row r, as WGSL. */
  readonly four: string;
}

export function rowProducts({ rows, stretch }: RowTile, lanes: number): RowProducts {
  const loads = ceilDiv(stretch / 4, lanes);
  const element = (k: number): string =>
    `subgroupBroadcast(own${Math.floor(k / 4 / lanes)}[${k % 4}], ${Math.floor(k / 4) % lanes}u)`;
  const each = (text: (r: number) => string): string => range(rows).map(text).join(' ');
  return {
    declarations: /* wgsl */ `
var left: array<f32, ${rows * stretch}>;
var sums: array<f32, ${rows * COLUMNS}>;
${lines(loads, (g) => `let part${g} = min(${g * lanes}u + lane, ${stretch / 4 - 1}u);`)}`,
    multiply: (vector) => /* wgsl */ `
for (var column = 0u; column < width; column++) {
${lines(loads, (g) => `let own${g} = ${vector(`part${g}`)};`)}
${each((r) => `var sum${r} = 0.0;`)}
${lines(stretch, (k) => `let b${k} = ${element(k)}; ${each((r) => `sum${r} += left[${r * stretch + k}] * b${k};`)}`)}
let place = column * ${rows};
// Two branches: with one addition the compiler computes the sums one after the other, waiting for each product.
if (k == 0) { ${each((r) => `sums[place + ${r}] = sum${r};`)} }
else { ${each((r) => `sums[place + ${r}] += sum${r};`)} }
}`,
    four: `vec4f(${range(4)
      .map((j) => `sums[c * ${rows} + r + ${j * rows}]`)
      .join(', ')})`,
  };
}
