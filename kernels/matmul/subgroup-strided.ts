import type { DeviceProfile } from '../device.ts';
import { launch, output, u32 } from '../kernel.ts';
import type { Launch } from '../kernel.ts';
import { lines, range } from '../unroll.ts';
import { epilogueFunctions } from './epilogue.ts';
import { matmulBindings, matmulCost, matmulUniforms, placeWgsl, tileGrid, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';

/*
 * The software adapter's tile for sizes and strides that are no multiples of 4: like the one in subgroup.ts, but with
 * single elements loaded (each costs a lane more instructions than one of a vector) and every layout in one pipeline,
 * since both directions of both operands are strides. Twice as slow as vectors, several times faster than `general`.
 */

const ROWS_A_LANE = 2;
const COLUMNS_A_LANE = 8;

export function matmulSubgroupStrided(problem: MatmulProblem, device: DeviceProfile): Launch[] {
  const lanes = device.subgroupSize;
  const rows = lanes * ROWS_A_LANE;
  const width = lanes * COLUMNS_A_LANE;
  const tiles = tiling(problem, rows, width);
  const { a, b, epilogue = {}, rowSums = false } = problem;
  const { bias, residual, geluGradient, accumulate, gelu } = epilogue;
  const columns = range(COLUMNS_A_LANE);
  // Rows past the edge hold the last valid row once more, so that writing them there needs no test; adding does.
  const place = (r: string, c: number) => `at.y + min(row + ${r}, params.m - 1) * params.y_ld + column${c}`;
  const store = (r: number, c: number): string => {
    const value = `params.scale * sum${r}_${c}${bias ? ` + bias${c}` : ''}`;
    return accumulate
      ? `if (row + ${r} < params.m) { let i = ${place(String(r), c)}; y[i] += ${value}; }`
      : `y[${place(String(r), c)}] = ${value};`;
  };
  const v = geluGradient ? 'before' : 'value';
  const late = (c: number): string =>
    residual || geluGradient || gelu
      ? `for (var r = 0u; r < min(${rows}u, params.m - row); r++) {
  let i = ${place('r', c)};
  var value = y[i];
  ${residual ? 'value += residual[i];' : ''}
  ${geluGradient ? 'let before = pre[i]; value *= slope1(before);' : ''}
  ${residual || geluGradient ? 'y[i] = value;' : ''}
  ${gelu ? `activated[i] = ${v} * gate1(${v});` : ''}
}`
      : '';
  return [
    launch({
      name: `matmul/subgroup_strided_${rows}x${width}`,
      enables: ['subgroups'],
      bindings: [
        ...matmulBindings(problem, { a: 'f32', b: 'f32', y: 'f32' }),
        ...(rowSums ? [output('row_sums')] : []),
      ],
      uniforms: {
        ...matmulUniforms(problem, tiles),
        a_row: u32(a.transposed ? 1 : a.ld),
        a_k: u32(a.transposed ? a.ld : 1),
        b_column: u32(b.transposed ? b.ld : 1),
        b_k: u32(b.transposed ? 1 : b.ld),
      },
      ranges: problem.ranges,
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(epilogue)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
let tile = linear_workgroup(workgroup, workgroups);
if (tile >= params.tiles) { return; }
let at = place(tile);
let row = at.row * ${rows};
// Lanes and rows past the edge compute with the last valid ones; such lanes do not store.
${lines(COLUMNS_A_LANE, (c) => `let wanted${c} = at.column * ${width} + ${c * lanes} + lane; let column${c} = min(wanted${c}, params.n - 1);`)}
${lines(ROWS_A_LANE, (g) => `let a${g} = at.a + min(row + ${g * lanes} + lane, params.m - 1) * params.a_row;`)}
${lines(COLUMNS_A_LANE, (c) => `let b${c} = at.b + column${c} * params.b_column;`)}
${range(rows)
  .flatMap((r) => columns.map((c) => `var sum${r}_${c} = 0.0;`))
  .join(' ')}
${rowSums ? lines(ROWS_A_LANE, (g) => `var row_sum${g} = 0.0;`) : ''}
for (var k = 0u; k < params.k; k++) {
${lines(ROWS_A_LANE, (g) => `let left${g} = a[a${g} + k * params.a_k];`)}
${lines(COLUMNS_A_LANE, (c) => `let right${c} = b[b${c} + k * params.b_k];`)}
${rowSums ? lines(ROWS_A_LANE, (g) => `row_sum${g} += left${g};`) : ''}
${lines(
  rows,
  (r) => `let l${r} = subgroupBroadcast(left${Math.floor(r / lanes)}, ${r % lanes}u);
${columns.map((c) => `sum${r}_${c} += l${r} * right${c};`).join(' ')}`,
)}
}
${columns
  .map(
    (c) => `if (wanted${c} < params.n) {
${bias ? `let bias${c} = bias[column${c}];` : ''}
${lines(rows, (r) => store(r, c))}
${late(c)}
}`,
  )
  .join('\n')}
${
  rowSums
    ? `if (at.column == 0) {
${lines(ROWS_A_LANE, (g) => `if (row + ${g * lanes} + lane < params.m) { row_sums[row + ${g * lanes} + lane] = row_sum${g}; }`)}
}`
    : ''
}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
