import type { DeviceProfile } from '../device.ts';
import { launch, output, u32 } from '../kernel.ts';
import type { Launch } from '../kernel.ts';
import { lines, range } from '../unroll.ts';
import { epilogueFunctions, epilogueWgsl } from './epilogue.ts';
import { matmulBindings, matmulCost, matmulUniforms, placeWgsl, tileGrid, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';

/*
 * For software adapters, whose lanes are those of a processor's vector unit. There a load costs 7 to 12 instructions
 * an element and lane, workgroup memory and barriers cost more, and every value that a loop carries is blended with
 * the lane mask once an iteration. Hence one subgroup a workgroup; lanes own columns (vec4); the rows of a are loaded a
 * different one by each lane, and handed round with subgroupBroadcast; and an iteration takes several k: first all
 * loads, then the multiplications (loads between them made the compiler spill what it was gathering).
 */

/** How a tile is cut: `rows` x (lanes * 4 * vectors), `unroll` k an iteration. */
export interface SubgroupTile {
  readonly rows: number;
  readonly vectors: number;
  readonly unroll: number;
}

/** Lanes as few and as fixed as these tiles need. */
export const hasSubgroups = (device: DeviceProfile): boolean => device.subgroupSize >= 4 && device.subgroupSize <= 16;

/** Whether all stored rows start and end on whole vectors in the directions in which this variant loads vectors. */
export function fitsSubgroup(problem: MatmulProblem): boolean {
  const { a, b, y, batch = [] } = problem;
  const aligned = [a.ld, b.ld, y.ld, a.offset ?? 0, b.offset ?? 0, y.offset ?? 0, problem.n];
  for (const axis of batch) aligned.push(axis.a, axis.b, axis.y);
  aligned.push(a.transposed ? problem.m : problem.k);
  if (b.transposed) aligned.push(problem.k);
  return aligned.every((size) => size % 4 === 0);
}

/** The tile for a problem: as many rows as it has, up to 32, and two vectors a lane where both operands stream along rows. */
export function subgroupTile(problem: MatmulProblem, device: DeviceProfile): SubgroupTile {
  const lanes = device.subgroupSize;
  const { a, b, m, n } = problem;
  if (a.transposed) {
    const vectors = !b.transposed && n > 4 * lanes ? 2 : 1;
    return { rows: 4 * lanes, vectors, unroll: b.transposed ? 4 : 2 };
  }
  const rows = m <= lanes ? lanes : m <= 2 * lanes ? 2 * lanes : 4 * lanes;
  return { rows, vectors: 1, unroll: 4 };
}

/** Whether the variant takes the problem, with this tile if one is given. */
export function fitsSubgroupTile(problem: MatmulProblem, device: DeviceProfile, tile?: SubgroupTile): boolean {
  const { a, b, rowSums } = problem;
  if (!hasSubgroups(device) || !fitsSubgroup(problem) || (rowSums && !a.transposed)) return false;
  if (!tile) return true;
  const granule = device.subgroupSize * (a.transposed ? 4 : 1);
  // Where either operand has vectors along k, an iteration takes one of them.
  const steps = a.transposed && !b.transposed ? tile.unroll >= 1 : tile.unroll === 4;
  return tile.rows >= granule && tile.rows % granule === 0 && (tile.vectors === 1 || tile.vectors === 2) && steps;
}

/** Tiles beside the usual one that are worth measuring. */
export function otherSubgroupTiles(problem: MatmulProblem, device: DeviceProfile): SubgroupTile[] {
  const { a, b } = problem;
  const usual = subgroupTile(problem, device);
  const times = a.transposed ? [4, 8] : [4, 3, 2, 1, 6];
  const unrolls = a.transposed && !b.transposed ? [2, 1, 4] : [4];
  const tiles = times.flatMap((granules) =>
    [1, 2].flatMap((vectors) => unrolls.map((unroll) => ({ rows: granules * device.subgroupSize, vectors, unroll }))),
  );
  return tiles.filter((tile) => {
    const isUsual = tile.rows === usual.rows && tile.vectors === usual.vectors && tile.unroll === usual.unroll;
    return !isUsual && tile.rows * tile.vectors <= 64;
  });
}

/** Loads of a: declarations before the loop, loads of an iteration, and the value of row r at step q of it. */
function rowsOfA(transposed: boolean, rows: number, unroll: number, lanes: number, tail: boolean) {
  if (!transposed) {
    const groups = rows / lanes;
    return {
      before: lines(
        groups,
        (g) => `let a${g} = (at.a + min(row + ${g * lanes} + lane, params.m - 1) * params.a_ld) / 4;`,
      ),
      load: lines(groups, (g) => `let left${g} = a[a${g} + k / 4];`),
      value: (r: number, q: number) => `subgroupBroadcast(left${Math.floor(r / lanes)}[${q}], ${r % lanes}u)`,
      partial: '',
    };
  }
  const groups = rows / (4 * lanes);
  return {
    before: lines(groups, (g) => `let a${g} = at.a + min(row + ${g * 4 * lanes} + 4 * lane, params.m - 4);`),
    load: range(groups)
      .flatMap((g) =>
        range(unroll).map((q) => {
          const inside = `a[(a${g} + ${q === 0 || !tail ? `(k + ${q})` : `min(k + ${q}, params.k - 1)`} * params.a_ld) / 4]`;
          // A step past the end of an odd sum repeats the last one times zero.
          return q === 0 || !tail
            ? `let left${g}_${q} = ${inside};`
            : `let left${g}_${q} = select(vec4f(), ${inside}, k + ${q} < params.k);`;
        }),
      )
      .join('\n'),
    value: (r: number, q: number) =>
      `subgroupBroadcast(left${Math.floor(r / (4 * lanes))}_${q}[${r % 4}], ${Math.floor((r % (4 * lanes)) / 4)}u)`,
    partial: range(groups)
      .map(
        (g) =>
          `row_sum${g} += ${range(unroll)
            .map((q) => `left${g}_${q}`)
            .join(' + ')};`,
      )
      .join('\n'),
  };
}

/** Loads of b: four neighbouring columns a lane and vector v, at step q of an iteration. */
function columnsOfB(transposed: boolean, vectors: number, unroll: number, tail: boolean) {
  if (transposed) {
    return {
      before: range(vectors)
        .flatMap((v) => range(4).map((j) => `let b${v}_${j} = (at.b + (column${v} + ${j}) * params.b_ld) / 4;`))
        .join('\n'),
      load: range(vectors)
        .flatMap((v) => [
          ...range(4).map((j) => `let own${v}_${j} = b[b${v}_${j} + k / 4];`),
          ...range(4).map(
            (q) =>
              `let right${v}_${q} = vec4f(${range(4)
                .map((j) => `own${v}_${j}[${q}]`)
                .join(', ')});`,
          ),
        ])
        .join('\n'),
    };
  }
  return {
    before: lines(vectors, (v) => `let b${v} = at.b + column${v};`),
    load: range(unroll)
      .flatMap((q) =>
        range(vectors).map((v) => {
          const k = q === 0 || !tail ? `(k + ${q})` : `min(k + ${q}, params.k - 1)`;
          return `let right${v}_${q} = b[(b${v} + ${k} * params.b_ld) / 4];`;
        }),
      )
      .join('\n'),
  };
}

export function matmulSubgroup(problem: MatmulProblem, tile: SubgroupTile, device: DeviceProfile): Launch[] {
  const lanes = device.subgroupSize;
  const { rows, vectors, unroll } = tile;
  const width = lanes * 4 * vectors;
  const tiles = tiling(problem, rows, width);
  // Where k is the direction of vectors, it is a whole number of them.
  const tail = problem.a.transposed && !problem.b.transposed;
  const a = rowsOfA(problem.a.transposed, rows, unroll, lanes, tail);
  const b = columnsOfB(problem.b.transposed, vectors, unroll, tail);
  const { epilogue = {} } = problem;
  const groups = rows / (4 * lanes);
  const { rowSums = false } = problem;
  const layout = `${problem.a.transposed ? 't' : 'n'}${problem.b.transposed ? 't' : 'n'}`;
  const sum = (r: number, v: number) => `sums[${r * vectors + v}]`;
  return [
    launch({
      name: `matmul/subgroup_${layout}_${rows}x${width}`,
      enables: ['subgroups'],
      bindings: [
        ...matmulBindings(problem, { a: 'vec4f', b: 'vec4f', y: 'vec4f' }),
        ...(rowSums ? [output('row_sums', 'vec4f')] : []),
      ],
      uniforms: { ...matmulUniforms(problem, tiles), rows: u32(rows) },
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
// Lanes and rows past the edge compute with the last valid ones; they do not store.
${lines(vectors, (v) => `let wanted${v} = at.column * ${width} + ${v * lanes * 4} + lane * 4; let column${v} = min(wanted${v}, params.n - 4);`)}
${a.before}
${b.before}
var sums: array<vec4f, ${rows * vectors}>;
${rowSums ? lines(groups, (g) => `var row_sum${g} = vec4f();`) : ''}
for (var k = 0u; k < params.k; k += ${unroll}) {
${a.load}
${b.load}
${rowSums ? a.partial : ''}
${lines(
  rows,
  (r) =>
    `${range(unroll)
      .map((q) => `let l${r}_${q} = ${a.value(r, q)};`)
      .join(' ')}
${range(vectors)
  .map(
    (v) =>
      `${sum(r, v)} = ${sum(r, v)}${range(unroll)
        .map((q) => ` + l${r}_${q} * right${v}_${q}`)
        .join('')};`,
  )
  .join(' ')}`,
)}
}
// Not unrolled: sums in memory, and one row of code.
for (var r = 0u; r < min(params.rows, params.m - row); r++) {
${lines(
  vectors,
  (v) => `if (wanted${v} < params.n) {
let value = sums[r * ${vectors} + ${v}];
let i = (at.y + (row + r) * params.y_ld + column${v}) / 4;
${epilogueWgsl(epilogue, { vector: true, sum: 'value', index: 'i', column: `column${v} / 4` })}
}`,
)}
}
${
  rowSums
    ? `if (at.column == 0) {
${lines(groups, (g) => `if (row + ${g * 4 * lanes} + 4 * lane < params.m) { row_sums[(row + ${g * 4 * lanes}) / 4 + lane] = row_sum${g}; }`)}
}`
    : ''
}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
