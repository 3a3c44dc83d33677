import type { DeviceProfile } from '../lib/device.ts';
import { matrixSubgroup, squareMatrices } from '../lib/device.ts';
import { launch, require } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import type { Variant } from '../lib/variant.ts';
import { lines, range } from '../lib/unroll.ts';
import { epilogueFunctions, epilogueWgsl } from './epilogue.ts';
import { matmulBindings, matmulCost, matmulUniforms, placeWgsl, tileGrid, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';
import { BUSY_INVOCATIONS } from '../lib/product-tile.ts';

/*
 * For GPUs with subgroup matrices (tensor cores): f16 operands, f32 sums. A workgroup computes a tile of y, each of its
 * subgroups a block of FRAGMENTS x FRAGMENTS fragments of it, whose sums stay in registers.
 * Blocks of BLOCK_K steps of k pass through workgroup memory as [row][k] and [k][column], whatever way the operands are
 * stored; what lies past the edges is loaded as zeros, so that all fragments are whole. Results leave through workgroup
 * memory too, a fragment of each subgroup at a time, for the epilogue and for guarded stores.
 *
 * Rows in workgroup memory are PADDING elements longer than they need to be, so that those of a fragment begin in
 * different banks.
 *
 * Its WGSL is compiled by the tests, and run with the matrix functions emulated; it has not been run on a device that has
 * them.
 */

/** Steps of k that pass through workgroup memory together. */
const BLOCK_K = 32;
const PADDING = 8;
/** Subgroups across a tile, and down. */
const ACROSS = 2;
/** Fragments of a subgroup, across and down. */
const FRAGMENTS = 2;

interface MatrixTile {
  /** Side of a fragment. */
  readonly side: number;
  /** Subgroups down the tile. */
  readonly down: number;
}

/** Rows and columns of y in a tile. */
const matrixTileSize = ({ side, down }: MatrixTile): { rows: number; columns: number } => ({
  rows: side * down * FRAGMENTS,
  columns: side * ACROSS * FRAGMENTS,
});

/** Bytes of workgroup memory. */
function stageBytes(tile: MatrixTile): number {
  const { rows, columns } = matrixTileSize(tile);
  const operands = rows * (BLOCK_K + PADDING) + BLOCK_K * (columns + PADDING);
  return 2 * operands + 4 * tile.down * ACROSS * tile.side ** 2;
}

/**
 * The tile for a problem, or null where this variant cannot take it: operands that are f16 and nothing but y besides, on a
 * device that multiplies square matrices of f16 into f32.
 */
function matrixTile(problem: MatmulProblem, device: DeviceProfile): MatrixTile | null {
  const { f16 = [], rowSums } = problem;
  const sides = squareMatrices(device).filter((side) => BLOCK_K % side === 0);
  if (rowSums || !f16.includes('a') || !f16.includes('b') || sides.length === 0) return null;
  const side = Math.max(...sides);
  const { lanes } = matrixSubgroup(device);
  const fits = (tile: MatrixTile): boolean =>
    stageBytes(tile) <= device.maxWorkgroupStorage && lanes * tile.down * ACROSS <= device.maxInvocationsPerWorkgroup;
  const small: MatrixTile = { side, down: 2 };
  const large: MatrixTile = { side, down: 4 };
  if (lanes === 0 || !fits(small)) return null;
  const { rows, columns } = matrixTileSize(large);
  return fits(large) && tiling(problem, rows, columns).tiles * lanes * large.down * ACROSS >= BUSY_INVOCATIONS
    ? large
    : small;
}

interface Side {
  readonly name: 'a' | 'b';
  /** Elements along the fast direction of memory are neighbours along k. */
  readonly alongK: boolean;
  /** Rows and starts of rows are whole vectors. */
  readonly vector: boolean;
  readonly across: 'm' | 'n';
  /** Rows or columns of the tile. */
  readonly size: number;
}

/** WGSL: loads the block at k of one operand into workgroup memory, in pieces of up to four neighbours. */
function loadTile({ name, alongK, vector, across, size }: Side, threads: number): string {
  const piece = vector ? 4 : 1;
  const pieces = (size * BLOCK_K) / piece;
  // Neighbouring invocations take neighbouring pieces of memory.
  const fast = (alongK ? BLOCK_K : size) / piece;
  const [x, step] = alongK ? ['slow', 'fast'] : ['fast', 'slow'];
  const row = name === 'a' ? `${x} * ${BLOCK_K + PADDING} + ${step}` : `${step} * ${size + PADDING} + ${x}`;
  const stride = (name === 'a') === alongK ? 1 : name === 'a' ? BLOCK_K + PADDING : size + PADDING;
  const at = alongK
    ? `at.${name} + (origin_${name} + x) * params.${name}_ld + k + step`
    : `at.${name} + (k + step) * params.${name}_ld + origin_${name} + x`;
  const element = vector ? 'vec4f' : 'f32';
  const stores = vector
    ? range(4).map((j) => `stage_${name}[to + ${j * stride}] = f16(value[${j}]);`)
    : [`stage_${name}[to] = f16(value);`];
  return /* wgsl */ `
    for (var i = lane; i < ${pieces}u; i += ${threads}u) {
      let fast = (i % ${fast}u) * ${piece}u;
      let slow = i / ${fast}u;
      let x = ${x};
      let step = ${step};
      var value = ${element}();
      if (origin_${name} + x < params.${across} && k + step < params.k) { value = ${name}[${vector ? `(${at}) / 4` : at}]; }
      let to = ${row};
      ${stores.join(' ')}
    }`;
}

export const subgroupMatrix: Variant<MatmulProblem> = {
  name: 'subgroup_matrix',
  fits: (problem, device) => matrixTile(problem, device) !== null,
  launches,
};

function launches(problem: MatmulProblem, device: DeviceProfile): Launch[] {
  const tile = matrixTile(problem, device);
  require(tile !== null, 'matmul/subgroup_matrix', 'f16 operands, and a device with subgroup matrices', problem);
  const { a, b, y, batch = [], epilogue = {} } = problem;
  const { side, down } = tile;
  const { rows, columns } = matrixTileSize(tile);
  const { lanes, enables, attribute } = matrixSubgroup(device);
  const threads = lanes * down * ACROSS;
  const tiles = tiling(problem, rows, columns);
  const whole = (sizes: number[]): boolean => sizes.every((size) => size % 4 === 0);
  const sideA: Side = {
    name: 'a',
    alongK: !a.transposed,
    vector: whole([a.ld, a.offset ?? 0, a.transposed ? problem.m : problem.k, ...batch.map((axis) => axis.a)]),
    across: 'm',
    size: rows,
  };
  const sideB: Side = {
    name: 'b',
    alongK: b.transposed,
    vector: whole([b.ld, b.offset ?? 0, b.transposed ? problem.k : problem.n, ...batch.map((axis) => axis.b)]),
    across: 'n',
    size: columns,
  };
  const vectorY = whole([y.ld, y.offset ?? 0, problem.n, ...batch.map((axis) => axis.y)]);
  const wide = vectorY ? 4 : 1;
  const element = (vector: boolean): string => (vector ? 'vec4f' : 'f32');
  const layout = `${a.transposed ? 't' : 'n'}${b.transposed ? 't' : 'n'}`;
  const matrix = (kind: 'left' | 'right' | 'result'): string =>
    `subgroup_matrix_${kind}<${kind === 'result' ? 'f32' : 'f16'}, ${side}, ${side}>`;
  const load = (kind: 'left' | 'right', stage: string, at: string, stride: number): string =>
    `subgroupMatrixLoad<${matrix(kind)}, row_major>(&${stage}, ${at}, ${stride}u)`;
  const each = (text: (r: number, c: number) => string): string =>
    range(FRAGMENTS)
      .flatMap((r) => range(FRAGMENTS).map((c) => text(r, c)))
      .join('\n');
  const four = range(4).map((j) => `results[place_here + ${j}]`);
  const value = vectorY ? `vec4f(${four.join(', ')})` : 'results[place_here]';
  const unit = (index: string): string => (vectorY ? `(${index} / 4)` : index);
  const operands = { vector: vectorY, sum: 'value', index: unit('index'), column: unit('column') };
  return [
    launch({
      name: `matmul/subgroup_matrix_${layout}_${rows}x${columns}`,
      enables: ['f16', 'subgroups', ...enables, 'chromium_experimental_subgroup_matrix'],
      bindings: matmulBindings(problem, {
        a: element(sideA.vector),
        b: element(sideB.vector),
        y: element(vectorY),
      }),
      uniforms: matmulUniforms(problem, tiles),
      ranges: problem.ranges,
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(epilogue)}
var<workgroup> stage_a: array<f16, ${rows * (BLOCK_K + PADDING)}>;
var<workgroup> stage_b: array<f16, ${BLOCK_K * (columns + PADDING)}>;
var<workgroup> results: array<f32, ${down * ACROSS * side * side}>;
@compute @workgroup_size(${threads}) ${attribute}
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup: u32,
        @builtin(subgroup_invocation_id) own: u32) {
  let tile = linear_workgroup(workgroup, workgroups);
  if (tile >= params.tiles) { return; }
  let at = place(tile);
  let origin_a = at.row * ${rows}u;
  let origin_b = at.column * ${columns}u;
  // Where this subgroup's block begins in the tile.
  let block_row = (subgroup / ${ACROSS}u) * ${side * FRAGMENTS}u;
  let block_column = (subgroup % ${ACROSS}u) * ${side * FRAGMENTS}u;
  ${each((r, c) => `var sum${r}_${c}: ${matrix('result')};`)}
  for (var k = 0u; k < params.k; k += ${BLOCK_K}u) {
    workgroupBarrier();
    ${loadTile(sideA, threads)}
    ${loadTile(sideB, threads)}
    workgroupBarrier();
    for (var step = 0u; step < ${BLOCK_K}u; step += ${side}u) {
      ${lines(FRAGMENTS, (r) => `let left${r} = ${load('left', 'stage_a', `(block_row + ${r * side}u) * ${BLOCK_K + PADDING}u + step`, BLOCK_K + PADDING)};`)}
      ${lines(FRAGMENTS, (c) => `let right${c} = ${load('right', 'stage_b', `step * ${columns + PADDING}u + block_column + ${c * side}u`, columns + PADDING)};`)}
      ${each((r, c) => `sum${r}_${c} = subgroupMatrixMultiplyAccumulate(left${r}, right${c}, sum${r}_${c});`)}
    }
  }
  ${each(
    (r, c) => /* wgsl */ `
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&results, subgroup * ${side * side}u, sum${r}_${c}, ${side}u);
  workgroupBarrier();
  for (var i = own * ${wide}u; i < ${side * side}u; i += ${lanes * wide}u) {
    let row = origin_a + block_row + ${r * side}u + i / ${side}u;
    let column = origin_b + block_column + ${c * side}u + i % ${side}u;
    if (row < params.m && column < params.n) {
      let place_here = subgroup * ${side * side}u + i;
      let value = ${value};
      let index = at.y + row * params.y_ld + column;
      ${epilogueWgsl(epilogue, operands)}
    }
  }`,
  )}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
