import type { DeviceProfile } from '../device.ts';
import { ceilDiv } from '../device.ts';
import { launch, u32 } from '../kernel.ts';
import type { Launch } from '../kernel.ts';
import { EVERY_EPILOGUE, epilogueFunctions } from './epilogue.ts';
import { matmulBindings, matmulCost, matmulUniforms, placeWgsl, tileGrid, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';

/*
 * The software adapter's variant for many rows of a row-major a and a transposed b (linear layers; the gradient of their
 * input with the weight turned round). A lane owns a few rows, of which it holds a stretch of k in a private array; column after column of b is
 * then loaded by all lanes together, handed round with subgroupBroadcast, and multiplied with all rows in straight
 * code: no accumulator is carried around a loop, where it would be blended with the lane mask at every turn. Sums over
 * the stretches of k gather in a second private array.
 *
 * Private arrays that are indexed dynamically somewhere stay in memory, out of the compiler's registers: a tenth of the
 * compile time, and one row of epilogue code for all rows. What the epilogue does is decided at run time, so that a model
 * has one such pipeline for all of its layers; bindings that a product does not use are bound to something else.
 */

/** Multiplications in the unrolled code, beyond which it falls out of the instruction cache. */
const MAX_UNROLLED = 768;
/** Longest stretch of k; with 8 rows, what the first-level data cache holds beside the sums. */
const MAX_STRETCH = 96;
const MAX_ROWS = 8;
/** What bringing a column to all lanes costs, in rows' worth of arithmetic. */
const COLUMN_COST = 3;
/** Columns a workgroup takes. */
const COLUMNS = 64;

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const lines = (count: number, line: (i: number) => string): string => range(count).map(line).join('\n');

interface RowTile {
  /** Rows a lane. */
  readonly rows: number;
  /** Elements of k in a stretch, a multiple of 4. */
  readonly stretch: number;
}

function rowTile({ m, k }: MatmulProblem, lanes: number): RowTile {
  const stretch = 4 * ceilDiv(k, 4 * ceilDiv(k, MAX_STRETCH));
  let rows = 1;
  let least = Infinity;
  for (let candidate = 1; candidate <= Math.min(MAX_ROWS, Math.floor(MAX_UNROLLED / stretch)); candidate++) {
    const work = ceilDiv(m, lanes * candidate) * (candidate + COLUMN_COST);
    if (work <= least) [rows, least] = [candidate, work];
  }
  return { rows, stretch };
}

export function matmulSubgroupRows(problem: MatmulProblem, device: DeviceProfile): Launch[] {
  const lanes = device.subgroupSize;
  const { rows, stretch } = rowTile(problem, lanes);
  const tiles = tiling(problem, lanes * rows, COLUMNS);
  const { epilogue = {} } = problem;
  const flag = (on: boolean | undefined) => u32(on ? 1 : 0);
  // Loads that bring one column's stretch to the lanes.
  const loads = ceilDiv(stretch / 4, lanes);
  const element = (k: number): string =>
    `subgroupBroadcast(own${Math.floor(k / 4 / lanes)}[${k % 4}], ${Math.floor(k / 4) % lanes}u)`;
  const multiply = /* wgsl */ `
${range(rows)
  .map((r) => `var sum${r} = 0.0;`)
  .join(' ')}
${lines(
  stretch,
  (k) =>
    `let b${k} = ${element(k)}; ${range(rows)
      .map((r) => `sum${r} += left[${r * stretch + k}] * b${k};`)
      .join(' ')}`,
)}
let place = column * ${rows};
if (k == 0) { ${range(rows)
    .map((r) => `sums[place + ${r}] = sum${r};`)
    .join(' ')} } else { ${range(rows)
    .map((r) => `sums[place + ${r}] += sum${r};`)
    .join(' ')} }`;
  return [
    launch({
      name: `matmul/subgroup_rows_nt_${lanes * rows}x${stretch}`,
      enables: ['subgroups'],
      bindings: matmulBindings({ ...problem, epilogue: EVERY_EPILOGUE }, { a: 'vec4f', b: 'vec4f', y: 'vec4f' }),
      uniforms: {
        ...matmulUniforms(problem, tiles),
        // Bounds of loops that must not be unrolled.
        rows: u32(rows),
        stretch: u32(stretch),
        add_bias: flag(epilogue.bias),
        add_residual: flag(epilogue.residual),
        gelu_gradient: flag(epilogue.geluGradient),
        add_y: flag(epilogue.accumulate),
        activate: flag(epilogue.gelu),
      },
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(EVERY_EPILOGUE)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
let tile = linear_workgroup(workgroup, workgroups);
if (tile >= params.tiles) { return; }
let at = place(tile);
let first = at.column * ${COLUMNS};
let width = min(${COLUMNS}u, params.n - first);
var left: array<f32, ${rows * stretch}>;
var sums: array<f32, ${rows * COLUMNS}>;
${lines(loads, (g) => `let part${g} = min(${g * lanes}u + lane, ${stretch / 4 - 1}u);`)}
for (var k = 0u; k < params.k; k += params.stretch) {
  for (var r = 0u; r < params.rows; r++) {
    let row = min((at.row * params.rows + r) * ${lanes} + lane, params.m - 1);
    for (var e = 0u; e < params.stretch; e += 4) {
      // Past the end of k, zeros meet whatever b holds there.
      let inside = a[(at.a + row * params.a_ld + min(k + e, params.k - 4)) / 4];
      let value = select(vec4f(), inside, k + e < params.k);
      let i = r * ${stretch} + e;
      left[i] = value.x; left[i + 1] = value.y; left[i + 2] = value.z; left[i + 3] = value.w;
    }
  }
  for (var column = 0u; column < width; column++) {
${lines(loads, (g) => `let own${g} = b[(at.b + (first + column) * params.b_ld + min(k + part${g} * 4, params.k - 4)) / 4];`)}
${multiply}
  }
}
for (var r = 0u; r < params.rows; r++) {
  let row = (at.row * params.rows + r) * ${lanes} + lane;
  if (row >= params.m) { break; }
  for (var c = 0u; c < width; c += 4) {
    let column = (first + c) / 4;
    let index = (at.y + row * params.y_ld) / 4 + column;
    let i = c * ${rows} + r;
    let sum = vec4f(sums[i], sums[i + ${rows}], sums[i + ${2 * rows}], sums[i + ${3 * rows}]);
    var value = params.scale * sum;
    if (params.add_bias != 0) { value += bias[column]; }
    if (params.add_residual != 0) { value += residual[index]; }
    if (params.gelu_gradient != 0) { value *= slope(pre[index]); }
    if (params.add_y != 0) { value += y[index]; }
    y[index] = value;
    if (params.activate != 0) { activated[index] = value * gate(value); }
  }
}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
