import { ceilDiv, hasSubgroups } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { launch, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import type { Variant } from '../lib/variant.ts';
import { EVERY_EPILOGUE, epilogueBindings, epilogueFunctions, scaledRow } from './epilogue.ts';
import type { Epilogue } from './epilogue.ts';
import { batchSize, matmulBindings, matmulCost, matmulUniforms, placeWgsl, tileGrid, tiling } from './problem.ts';
import type { MatmulOperand, MatmulProblem } from './problem.ts';
import { lines, range } from '../lib/unroll.ts';
import { columnsOfTile, MAX_COLUMNS, MAX_ROWS, rowProducts, rowTile } from './row-products.ts';

/*
 * The variant for software adapters, whose lanes are those of a processor's vector unit: all layouts, sizes and strides. A
 * load costs 7 to 12 instructions an element and lane there, workgroup memory and barriers cost more, and every value that
 * a loop carries is blended with the lane mask at every turn. Hence one subgroup a workgroup. A lane owns a few rows, of
 * which it caches a block of k in a private array; column after column of b is then loaded by all lanes together, handed
 * round with subgroupBroadcast, and multiplied with all rows in straight code, in which no sum is carried around a loop.
 * Sums over the blocks of k gather in private arrays too. Columns are loaded in vectors where b is transposed (linear
 * layers), else element by element; large operands that do not lie well are packed first (pack.ts).
 *
 * Private arrays that are indexed dynamically somewhere stay in memory, out of the compiler's registers: a tenth of the
 * compile time, and one row of epilogue code for all rows. What the epilogue does is decided at run time, so that a model
 * has one such pipeline for all of its layers; bindings that a product does not use are bound to something else.
 */

/**
 * Which operands are loaded in vectors (rows along k, or along m if they lie so; columns along k), and whether y is
 * written in vectors.
 */
function vectorsOf({ m, n, k, a, b, y, batch = [] }: MatmulProblem) {
  const whole = (...sizes: (number | undefined)[]): boolean => sizes.every((size = 0) => size % 4 === 0);
  const along = (size: number, { padded }: MatmulOperand): number => (padded ? 0 : size);
  return {
    rows: whole(a.transposed ? m : along(k, a), a.ld, a.offset, ...batch.map((axis) => axis.a)),
    columns: b.transposed && whole(along(k, b), b.ld, b.offset, ...batch.map((axis) => axis.b)),
    results: whole(n, y.ld, y.offset, ...batch.map((axis) => axis.y)),
  };
}

/** WGSL for columns c ... c + 3 of what is laid out like y: as a vector, or one by one as far as the tile goes. */
const resultsInVectors = {
  declarations: '',
  load: (name: string, at: string): string => `${name}[${at} / 4]`,
  store: (name: string, value: string): string => `${name}[index / 4] = ${value};`,
};
const resultsInElements: typeof resultsInVectors = {
  declarations: 'let last = min(3u, width - 1 - c);',
  load: (name, at) =>
    `vec4f(${range(4)
      .map((j) => `${name}[${at} + min(${j}u, last)]`)
      .join(', ')})`,
  store: (name, value) => lines(4, (j) => `if (last >= ${j}u) { ${name}[index + ${j}] = ${value}[${j}]; }`),
};

/** Work below which the variant that compiles fastest is not much slower than this one. */
const SMALL = 3e5;

/** Storage buffers that every launch binds: operands, result, all that an epilogue may need, and row sums for row scales. */
const BINDINGS = 8;

/** How tiles may be cut: blocks of whole vectors if one operand has vectors along k, rows in whole vectors of a. */
function limitsOf(problem: MatmulProblem) {
  const { rows, columns } = vectorsOf(problem);
  return { vectors: (rows && !problem.a.transposed) || columns, multiple: rows && problem.a.transposed ? 4 : 1 };
}

/** The variant with so many rows a lane, or, if that is left out, those of least work. */
export const subgroupRows = (rows?: number): Variant<MatmulProblem> => ({
  name: rows === undefined ? 'subgroup_rows' : `subgroup_rows_${rows}`,
  fits: (problem, device) => {
    if (!hasSubgroups(device) || device.maxStorageBuffers < BINDINGS) return false;
    return rows === undefined || (rows % limitsOf(problem).multiple === 0 && rows <= MAX_ROWS);
  },
  use: (problem, device) => {
    if (rows === undefined) return device.cpu && matmulCost(problem).flops >= SMALL ? 'default' : 'tuned';
    // The number of least work is that of the variant without a number.
    const best = rowTile({ ...problem, lanes: device.subgroupSize, ...limitsOf(problem) });
    return rows === best.rows ? 'named' : 'tuned';
  },
  launches: (problem, device) => launches(problem, device, rows),
});

function launches(problem: MatmulProblem, device: DeviceProfile, wanted?: number): Launch[] {
  const lanes = device.subgroupSize;
  const { a, b, rowSums = false } = problem;
  const vectors = vectorsOf(problem);
  const tile = rowTile({ ...problem, lanes, ...limitsOf(problem) }, wanted);
  const { rows, blockK } = tile;
  const quads = vectors.rows && a.transposed;
  const code = rowProducts(tile, lanes, {
    columns: MAX_COLUMNS,
    vectors: { rows: quads ? 'across' : vectors.rows ? 'along' : 'none', columns: vectors.columns },
  });
  const columns = columnsOfTile(problem.n, ceilDiv(problem.m, lanes * rows) * batchSize(problem));
  const tiles = tiling(problem, lanes * rows, columns);
  const { epilogue = {} } = problem;
  // Row sums and row scales are never both asked for, and every device can bind so many.
  const every: Epilogue = { ...EVERY_EPILOGUE, rowScale: !rowSums };
  const used = epilogueBindings(epilogue, 'f32').map(({ name }) => name);
  const flag = (on: boolean | undefined) => u32(on ? 1 : 0);
  const element = (vector: boolean): string => (vector ? 'vec4f' : 'f32');
  const sizeOf = (vector: boolean): number => (vector ? 4 : 1);
  const units = (index: string, vector: boolean): string => (vector ? `(${index}) / 4` : index);
  const [wideA, wideB] = [sizeOf(vectors.rows), sizeOf(vectors.columns)];
  const results = vectors.results ? resultsInVectors : resultsInElements;
  // Rows, or vectors of four of them, go to one lane after the other.
  const rowOf = (r: string): string =>
    quads ? `first_row + ${r} / 4 * ${4 * lanes} + ${r} % 4` : `first_row + ${r} * ${lanes}`;
  const zero = `${element(vectors.rows)}()`;
  const layout = `${a.transposed ? 't' : 'n'}${b.transposed ? 't' : 'n'}${rowSums ? '_sums' : ''}`;
  return [
    launch({
      name: `matmul/subgroup_rows_${layout}_${lanes * rows}x${blockK}`,
      enables: ['subgroups'],
      bindings: matmulBindings(
        { ...problem, epilogue: every },
        { a: element(vectors.rows), b: element(vectors.columns), y: element(vectors.results) },
      ),
      uniforms: {
        ...matmulUniforms(problem, tiles),
        a_row: u32(a.transposed ? 1 : a.ld),
        a_k: u32(a.transposed ? a.ld : 1),
        b_column: u32(b.transposed ? b.ld : 1),
        b_k: u32(b.transposed ? 1 : b.ld),
        // What is padded goes on in zeros past k.
        end_a: u32(a.padded ? a.ld : problem.k),
        end_b: u32(b.padded ? b.ld : problem.k),
        columns: u32(columns),
        // Bounds of loops that must not be unrolled.
        rows: u32(rows),
        block_k: u32(blockK),
        add_bias: flag(epilogue.bias),
        scale_rows: flag(epilogue.rowScale),
        add_residual: flag(epilogue.residual),
        gelu_gradient: flag(epilogue.geluGradient),
        add_y: flag(epilogue.accumulate),
        activate: flag(epilogue.gelu),
      },
      ranges: problem.ranges,
      unused: ['bias', 'row_scale', 'residual', 'pre', 'activated'].filter((name) => !used.includes(name)),
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(EVERY_EPILOGUE)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
let tile = linear_workgroup(workgroup, workgroups);
if (tile >= params.tiles) { return; }
let at = place(tile);
let first_row = at.row * ${lanes * rows} + lane${quads ? ' * 4' : ''};
let first = at.column * params.columns;
let width = min(params.columns, params.n - first);
${code.declarations}
${rowSums ? `var row_sum: array<f32, ${rows}>;` : ''}
for (var k = 0u; k < params.k; k += params.block_k) {
  // Past the end of k, zeros meet whatever b holds there.
  ${code.cacheRows(
    `select(${zero}, a[${units(`row + min(k + e, params.end_a - ${quads ? 1 : wideA}) * params.a_k`, vectors.rows)}], k + e < params.k)`,
    { start: `let row = at.a + min(${rowOf(quads ? '4 * r' : 'r')}, params.m - ${quads ? 4 : 1}) * params.a_row;` },
  )}
  ${rowSums ? `if (at.column == 0) { ${code.sumRows('row_sum')} }` : ''}
  ${code.multiply((part) => {
    const along = `min(k + ${part} * ${wideB}, params.end_b - ${wideB}) * params.b_k`;
    return `b[${units(`at.b + (first + column) * params.b_column + ${along}`, vectors.columns)}]`;
  })}
}
${
  rowSums
    ? `if (at.column == 0) { for (var r = 0u; r < params.rows; r++) {
  let row = ${rowOf('r')};
  if (row < params.m) { row_sums[row] = row_sum[r] + select(0.0, row_sums[row], params.add_y != 0); }
} }`
    : ''
}
${code.results(
  `let column = first + c;
${results.declarations}
var own_bias = vec4f();
if (params.add_bias != 0) { own_bias = ${results.load('bias', 'column')}; }`,
  `let row = ${rowOf('r')};
if (row < params.m) {
  let index = at.y + row * params.y_ld + column;
  var value = params.scale * four + own_bias;
  ${every.rowScale ? `if (params.scale_rows != 0) { value = ${scaledRow('value', 'row', 'vec4f')}; }` : ''}
  if (params.add_residual != 0) { value += ${results.load('residual', 'index')}; }
  var activating = value;
  if (params.gelu_gradient != 0) { activating = ${results.load('pre', 'index')}; value *= slope(activating); }
  if (params.add_y != 0) { value += ${results.load('y', 'index')}; }
  ${results.store('y', 'value')}
  if (params.activate != 0) { activating *= gate(activating); ${results.store('activated', 'activating')} }
}`,
)}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
