import type { DeviceProfile } from '../lib/device.ts';
import { launch } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { epilogueFunctions, epilogueWgsl } from './epilogue.ts';
import { matmulBindings, matmulCost, matmulUniforms, placeWgsl, storeRowSum, tileGrid, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';
import type { Variant } from '../lib/variant.ts';

/** An invocation computes ROWS x COLUMNS elements, a workgroup 8 x 8 times that. */
const ROWS = 4;
const COLUMNS = 4;

/**
 * Any size and stride on any device, no workgroup memory, no subgroups. Rows and columns past the edge read the last valid one
 * and are not stored. It compiles fastest, which decides for small products on a processor.
 */
export const general: Variant<MatmulProblem> = {
  name: 'general',
  fits: () => true,
  use: (_problem, device) => (device.cpu ? 'default' : 'tuned'),
  launches,
};

function launches(problem: MatmulProblem, device: DeviceProfile): Launch[] {
  const tiles = tiling(problem, 8 * ROWS, 8 * COLUMNS);
  const { epilogue = {}, rowSums = false } = problem;
  const a = problem.a.transposed ? 'a[at.a + k * params.a_ld + rows[r]]' : 'a[at.a + rows[r] * params.a_ld + k]';
  const b = problem.b.transposed ? 'b[at.b + columns[c] * params.b_ld + k]' : 'b[at.b + k * params.b_ld + columns[c]]';
  const operands = { vector: false, sum: 'sum[r][c]', row: '(row + r)', index: 'index', column: '(column + c)' };
  return [
    launch({
      name: 'matmul/general',
      bindings: matmulBindings(problem, { a: 'f32', b: 'f32', y: 'f32' }),
      uniforms: matmulUniforms(problem, tiles),
      ranges: problem.ranges,
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(epilogue)}
@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let tile = linear_workgroup(workgroup, workgroups);
  if (tile >= params.tiles) { return; }
  let at = place(tile);
  let row = (at.row * 8 + local.y) * ${ROWS};
  let column = (at.column * 8 + local.x) * ${COLUMNS};
  var rows: array<u32, ${ROWS}>;
  var columns: array<u32, ${COLUMNS}>;
  for (var r = 0u; r < ${ROWS}; r++) { rows[r] = min(row + r, params.m - 1); }
  for (var c = 0u; c < ${COLUMNS}; c++) { columns[c] = min(column + c, params.n - 1); }
  var sum: array<array<f32, ${COLUMNS}>, ${ROWS}>;
  ${rowSums ? `var row_sum: array<f32, ${ROWS}>;` : ''}
  for (var k = 0u; k < params.k; k++) {
    var right: array<f32, ${COLUMNS}>;
    for (var c = 0u; c < ${COLUMNS}; c++) { right[c] = ${b}; }
    for (var r = 0u; r < ${ROWS}; r++) {
      let left = ${a};
      ${rowSums ? 'row_sum[r] += left;' : ''}
      for (var c = 0u; c < ${COLUMNS}; c++) { sum[r][c] += left * right[c]; }
    }
  }
  for (var r = 0u; r < ${ROWS}; r++) {
    if (row + r >= params.m) { break; }
    for (var c = 0u; c < ${COLUMNS}; c++) {
      if (column + c >= params.n) { break; }
      let index = at.y + (row + r) * params.y_ld + column + c;
      ${epilogueWgsl(epilogue, operands)}
    }
    ${rowSums ? `if (column == 0) { ${storeRowSum(problem, 'row + r', 'row_sum[r]')} }` : ''}
  }
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
