import type { DeviceProfile } from '../lib/device.ts';
import { launch, require } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import {
  BLOCK_K,
  matrixColumn,
  matrixEnables,
  matrixEntryWgsl,
  matrixPieces,
  matrixPlacesWgsl,
  matrixStageWgsl,
  matrixStoreWgsl,
  matrixSumsWgsl,
  matrixThreads,
  matrixTile,
} from '../lib/matrix-tile.ts';
import type { MatrixTile } from '../lib/matrix-tile.ts';
import { BUSY_INVOCATIONS, fills } from '../lib/product-tile.ts';
import type { Variant } from '../lib/variant.ts';
import { epilogueFunctions, storeFour } from './epilogue.ts';
import { declarePatch, fetchPatch, loadPatch, locatePatch, patchedOperands } from './patches.ts';
import {
  endOfK,
  matmulBindings,
  matmulCost,
  matmulUniforms,
  placeWgsl,
  resultOf,
  rowSumsOfTile,
  tileGrid,
  tiling,
} from './problem.ts';
import type { TiledProblem } from './problem.ts';

/*
 * For GPUs with subgroup matrices (tensor cores), f16 operands and f32 sums: the tiles of lib/matrix-tile.ts, their patches
 * loaded from matrices (patches.ts).
 *
 * Its WGSL is compiled by the tests, and run with the matrix functions emulated; it has not been run on a device that has
 * them.
 */

/** The variant of one tile, of as many fragments down and across. */
const tiled = (name: string, down: 4 | 8, across: 4 | 8): Variant<TiledProblem> => ({
  name,
  fits: ({ f16 = [] }, device) => f16.includes('a') && f16.includes('b') && matrixTile(down, across, device) !== null,
  use: (problem, device) => {
    const tile = matrixTile(down, across, device)!;
    const least = matrixTile(4, 4, device);
    if (!least || down + across === 8) return 'default';
    const isBusy = tiling(problem, tile.rows, tile.columns).tiles * matrixThreads(tile) >= BUSY_INVOCATIONS;
    return isBusy && fills(resultOf(problem), tile, least) ? 'default' : 'tuned';
  },
  launches: (problem, device) => {
    const tile = matrixTile(down, across, device);
    require(tile !== null, `matmul/${name}`, 'a device with subgroup matrices', problem);
    return launches(problem, tile, device);
  },
});

/** In order of preference. The second is for narrow results. */
export const subgroupMatrices = [
  tiled('subgroup_matrix_large', 8, 8),
  tiled('subgroup_matrix_tall', 8, 4),
  tiled('subgroup_matrix', 4, 4),
];

function launches(problem: TiledProblem, tile: MatrixTile, device: DeviceProfile): Launch[] {
  const { a, b, epilogue = {}, rowSums = false } = problem;
  const { rows, columns } = tile;
  const operands = patchedOperands(problem, { rows, columns, block: BLOCK_K, type: 'vec4h' });
  const { vectorY, wholeY } = operands;
  const tiles = tiling(problem, rows, columns);
  const element = (vector: boolean): string => (vector ? 'vec4f' : 'f32');
  const layout = `${a.transposed ? 't' : 'n'}${b.transposed ? 't' : 'n'}`;
  const patches = Object.entries(matrixPieces(tile)).flatMap(([name, numbers]) =>
    numbers.map((i) => ({ i, operand: operands[name as 'a' | 'b'] })),
  );
  const places = patches.map(({ i, operand }) => `${declarePatch(i)} ${locatePatch(operand, i)}`);
  const fetch = patches.map(({ i, operand }) => fetchPatch(loadPatch(operand, i), i, operands));
  const alongK = { a: operands.a.alongK, b: operands.b.alongK };
  const inside = wholeY ? '' : 'if (y_row < params.m && column < params.n)';
  const store = (c: number): string => /* wgsl */ `
    let y_row = origin_a + row;
    let column = origin_b + ${matrixColumn(tile, c)};
    let index = at.y + y_row * params.y_ld + column;
    ${inside} { ${storeFour(epilogue, vectorY, 'y_row')} }`;
  return [
    launch({
      name: `matmul/subgroup_matrix_${layout}_${rows}x${columns}${rowSums ? '_sums' : ''}`,
      enables: matrixEnables(device),
      bindings: matmulBindings(problem, {
        a: element(operands.a.vector),
        b: element(operands.b.vector),
        y: element(vectorY),
      }),
      uniforms: matmulUniforms(problem, tiles),
      ranges: problem.ranges,
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(epilogue)}
${matrixStageWgsl(tile)}
${matrixEntryWgsl(tile, device)} {
  let tile = linear_workgroup(workgroup, workgroups);
  if (tile >= params.tiles) { return; }
  let at = place(tile);
  ${endOfK(problem)}
  let origin_a = at.row * ${rows}u;
  let origin_b = at.column * ${columns}u;
  ${matrixPlacesWgsl(tile)}
  ${places.join('\n')}
  ${matrixSumsWgsl(tile, alongK, `(k_end + ${BLOCK_K - 1}u) / ${BLOCK_K}u`, fetch.join('\n'), rowSumsOfTile(problem))}
  ${matrixStoreWgsl(tile, store)}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
