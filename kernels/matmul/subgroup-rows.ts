import { ceilDiv } from '../device.ts';
import type { DeviceProfile } from '../device.ts';
import { launch, u32 } from '../kernel.ts';
import type { Launch } from '../kernel.ts';
import { EVERY_EPILOGUE, epilogueFunctions } from './epilogue.ts';
import { batchSize, matmulBindings, matmulCost, matmulUniforms, placeWgsl, tileGrid, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';
import { lines, range } from '../unroll.ts';
import { columnsOfTile, MAX_COLUMNS, mostRows, rowProducts, rowTile } from './row-products.ts';
import { hasSubgroups } from './subgroup.ts';

/*
 * The software adapter's variant for many rows of a row-major a and a transposed b (linear layers; the gradient of their
 * input with the weight turned round). A lane owns a few rows, of which it holds a stretch of k in a private array;
 * column after column of b is then loaded by all lanes together, handed round with subgroupBroadcast, and multiplied with
 * all rows in straight code: no accumulator is carried around a loop, where it would be blended with the lane mask at
 * every turn. Sums over the stretches of k gather in a second private array.
 *
 * Private arrays that are indexed dynamically somewhere stay in memory, out of the compiler's registers: a tenth of the
 * compile time, and one row of epilogue code for all rows. What the epilogue does is decided at run time, so that a model
 * has one such pipeline for all of its layers; bindings that a product does not use are bound to something else.
 */

/** Which operands are loaded in vectors along k, and whether y is written in vectors. */
function vectorsOf({ n, k, a, b, y, batch = [] }: MatmulProblem) {
  const whole = (...sizes: (number | undefined)[]): boolean => sizes.every((size = 0) => size % 4 === 0);
  return {
    rows: whole(a.padded ? 0 : k, a.ld, a.offset, ...batch.map((axis) => axis.a)),
    columns: whole(b.padded ? 0 : k, b.ld, b.offset, ...batch.map((axis) => axis.b)),
    results: whole(n, y.ld, y.offset, ...batch.map((axis) => axis.y)),
  };
}

/** WGSL that reads and writes columns c ... c + 3 of what is laid out like y: as a vector, or those of them that are in the tile. */
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

/** Storage buffers that every launch binds: operands, result, and all that an epilogue may need. */
const BINDINGS = 7;

/** Whether this variant takes the problem, with so many rows a lane if they are given. */
export function fitsSubgroupRows(problem: MatmulProblem, device: DeviceProfile, rows = 1): boolean {
  if (!hasSubgroups(device) || device.maxStorageBuffers < BINDINGS) return false;
  const vectors = vectorsOf(problem);
  return (
    !problem.a.transposed &&
    problem.b.transposed &&
    !problem.rowSums &&
    rows >= 1 &&
    rows <= mostRows(problem.k, vectors.rows || vectors.columns)
  );
}

/** `wanted`: rows a lane, if not those of least work. */
export function matmulSubgroupRows(problem: MatmulProblem, device: DeviceProfile, wanted?: number): Launch[] {
  const lanes = device.subgroupSize;
  const vectors = vectorsOf(problem);
  const tile = rowTile(problem.m, problem.k, lanes, vectors.rows || vectors.columns, wanted);
  const { rows, stretch } = tile;
  const code = rowProducts(tile, lanes, { columns: MAX_COLUMNS, vectors });
  const columns = columnsOfTile(problem.n, ceilDiv(problem.m, lanes * rows) * batchSize(problem));
  const tiles = tiling(problem, lanes * rows, columns);
  const { epilogue = {} } = problem;
  const flag = (on: boolean | undefined) => u32(on ? 1 : 0);
  const element = (vector: boolean): string => (vector ? 'vec4f' : 'f32');
  const sizeOf = (vector: boolean): number => (vector ? 4 : 1);
  const units = (index: string, vector: boolean): string => (vector ? `(${index}) / 4` : index);
  const [wideA, wideB] = [sizeOf(vectors.rows), sizeOf(vectors.columns)];
  const results = vectors.results ? resultsInVectors : resultsInElements;
  return [
    launch({
      name: `matmul/subgroup_rows_nt_${lanes * rows}x${stretch}`,
      enables: ['subgroups'],
      bindings: matmulBindings(
        { ...problem, epilogue: EVERY_EPILOGUE },
        { a: element(vectors.rows), b: element(vectors.columns), y: element(vectors.results) },
      ),
      uniforms: {
        ...matmulUniforms(problem, tiles),
        // What is padded goes on in zeros past k.
        end_a: u32(problem.a.padded ? problem.a.ld : problem.k),
        end_b: u32(problem.b.padded ? problem.b.ld : problem.k),
        columns: u32(columns),
        // Bounds of loops that must not be unrolled.
        rows: u32(rows),
        stretch: u32(stretch),
        add_bias: flag(epilogue.bias),
        add_residual: flag(epilogue.residual),
        gelu_gradient: flag(epilogue.geluGradient),
        add_y: flag(epilogue.accumulate),
        activate: flag(epilogue.gelu),
      },
      ranges: problem.ranges,
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(EVERY_EPILOGUE)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
let tile = linear_workgroup(workgroup, workgroups);
if (tile >= params.tiles) { return; }
let at = place(tile);
let first_row = at.row * ${lanes * rows} + lane;
let first = at.column * params.columns;
let width = min(params.columns, params.n - first);
${code.declarations}
${lines(rows, (r) => `let row${r} = at.a + min(first_row + ${r * lanes}, params.m - 1) * params.a_ld;`)}
for (var k = 0u; k < params.k; k += params.stretch) {
  // Past the end of k, zeros meet whatever b holds there.
  ${code.hold(
    (r) =>
      `select(${element(vectors.rows)}(), a[${units(`row${r} + min(k + e, params.end_a - ${wideA})`, vectors.rows)}], k + e < params.k)`,
  )}
  ${code.multiply(
    (part) =>
      `b[${units(`at.b + (first + column) * params.b_ld + min(k + ${part} * ${wideB}, params.end_b - ${wideB})`, vectors.columns)}]`,
  )}
}
${code.results(
  `let column = first + c;
${results.declarations}
var own_bias = vec4f();
if (params.add_bias != 0) { own_bias = ${results.load('bias', 'column')}; }`,
  `let row = first_row + r * ${lanes};
if (row < params.m) {
  let index = at.y + row * params.y_ld + column;
  var value = params.scale * four + own_bias;
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
