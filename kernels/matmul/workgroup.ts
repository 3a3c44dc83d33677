import type { DeviceProfile } from '../lib/device.ts';
import { launch, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import {
  BLOCK_K,
  BUSY_INVOCATIONS,
  fills,
  FOURS,
  invocations,
  LARGE_TILE,
  ofOperand,
  pieces,
  placesWgsl,
  resultRows,
  SMALL_TILE,
  square,
  stageWgsl,
  sumsWgsl,
  tileBytes,
} from '../lib/product-tile.ts';
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
 * For GPUs: the tiles of lib/product-tile.ts, their patches loaded from matrices (patches.ts).
 */

/** The variant of one tile. */
const tiled = (name: string, tile: number): Variant<TiledProblem> => ({
  name,
  fits: (_problem, device) =>
    tileBytes(tile) <= device.maxWorkgroupStorage && invocations(tile) <= device.maxInvocationsPerWorkgroup,
  use: (problem, device) => {
    // On a processor, barriers between lanes are hopeless, and slow to compile.
    if (device.cpu) return 'named';
    if (tile === SMALL_TILE) return 'default';
    const isBusy = tiling(problem, tile, tile).tiles * invocations(tile) >= BUSY_INVOCATIONS;
    return isBusy && fills(resultOf(problem), square(tile), square(SMALL_TILE)) ? 'default' : 'tuned';
  },
  launches: (problem, device) => launches(problem, tile, device),
});

export const workgroupLarge = tiled('workgroup_large', LARGE_TILE);
export const workgroup = tiled('workgroup', SMALL_TILE);

function launches(problem: TiledProblem, tile: number, device: DeviceProfile): Launch[] {
  const { a, b, epilogue = {}, rowSums = false } = problem;
  const operands = patchedOperands(problem, { rows: tile, columns: tile, block: BLOCK_K, type: 'vec4f' });
  const { vectorY, wholeY } = operands;
  const element = (vector: boolean): string => (vector ? 'vec4f' : 'f32');
  const tiles = tiling(problem, tile, tile);
  const layout = `${a.transposed ? 't' : 'n'}${b.transposed ? 't' : 'n'}`;
  const places = pieces(tile).map(
    (i) => `${declarePatch(i)} ${ofOperand(tile, i, (operand) => locatePatch(operands[operand], i))}`,
  );
  const fetch = pieces(tile).map((i) =>
    fetchPatch(
      ofOperand(tile, i, (operand) => loadPatch(operands[operand], i)),
      i,
      operands,
    ),
  );
  const inside = (condition: string, body: string): string =>
    wholeY ? `{ ${body} }` : `if (${condition}) { ${body} }`;
  const stores = resultRows(tile).map(({ row, vectors }) => {
    const columns = vectors.map((vector) => {
      const body = `let value = ${vector.sum}; let index = at.y + row * params.y_ld + column; ${storeFour(epilogue, vectorY, 'row')}`;
      return `{ let column = origin_b + ${vector.column}; ${inside('column < params.n', body)} }`;
    });
    return `{ let row = origin_a + ${row}; ${inside('row < params.m', columns.join('\n'))} }`;
  });
  return [
    launch({
      name: `matmul/workgroup_${layout}_${tile}x${tile}${rowSums ? '_sums' : ''}`,
      bindings: matmulBindings(problem, {
        a: element(operands.a.vector),
        b: element(operands.b.vector),
        y: element(vectorY),
      }),
      uniforms: { ...matmulUniforms(problem, tiles), fours: u32(FOURS) },
      ranges: problem.ranges,
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(epilogue)}
${stageWgsl(tile)}
@compute @workgroup_size(${invocations(tile)})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = linear_workgroup(workgroup, workgroups);
  if (tile >= params.tiles) { return; }
  let at = place(tile);
  ${endOfK(problem)}
  let origin_a = at.row * ${tile}u;
  let origin_b = at.column * ${tile}u;
  ${placesWgsl(tile)}
  ${places.join('\n')}
  ${sumsWgsl(tile, `(k_end + ${BLOCK_K - 1}u) / ${BLOCK_K}u`, fetch.join('\n'), rowSumsOfTile(problem))}
  ${stores.join('\n')}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
