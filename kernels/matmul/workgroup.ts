import type { DeviceProfile } from '../lib/device.ts';
import { launch, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import {
  BLOCK_K,
  BUSY_INVOCATIONS,
  FOURS,
  invocations,
  LARGE_TILE,
  ofOperand,
  pieces,
  placesWgsl,
  resultRows,
  SMALL_TILE,
  stageWgsl,
  sumsWgsl,
  tileBytes,
} from '../lib/product-tile.ts';
import { lines, range } from '../lib/unroll.ts';
import type { Variant } from '../lib/variant.ts';
import { epilogueFunctions, epilogueWgsl } from './epilogue.ts';
import { matmulBindings, matmulCost, matmulUniforms, placeWgsl, tileGrid, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';

/*
 * For GPUs: the tiles of lib/product-tile.ts, their patches loaded from matrices. What lies past the edges is loaded as zeros;
 * where no tile reaches past one, nothing asks for edges. Addresses advance by additions.
 */

/** The variant of one tile. */
const tiled = (name: string, tile: number): Variant<MatmulProblem> => ({
  name,
  // Row sums are not this variant's.
  fits: ({ rowSums }, device) =>
    !rowSums && tileBytes(tile) <= device.maxWorkgroupStorage && invocations(tile) <= device.maxInvocationsPerWorkgroup,
  use: (problem, device) => {
    // On a processor, barriers between lanes are hopeless, and slow to compile.
    if (device.cpu) return 'named';
    return tile === SMALL_TILE || tiling(problem, tile, tile).tiles * invocations(tile) >= BUSY_INVOCATIONS
      ? 'default'
      : 'tuned';
  },
  launches: (problem, device) => launches(problem, tile, device),
});

export const workgroupLarge = tiled('workgroup_large', LARGE_TILE);
export const workgroup = tiled('workgroup', SMALL_TILE);

interface Side {
  /** Name of the binding. */
  readonly name: 'a' | 'b';
  /** Vectors lie along k in memory. */
  readonly alongK: boolean;
  /** Rows and starts of rows are whole vectors, so that vectors are loaded. */
  readonly vector: boolean;
  /** Uniform: elements across (m or n). */
  readonly across: 'm' | 'n';
  /** No patch reaches past an edge. */
  readonly whole: boolean;
}

/** WGSL: where patch i of an invocation begins in the operand, how far its rows are apart, and the patch of the next block. */
function locate({ name, alongK, vector }: Side, i: number): string {
  const unit = vector ? ' / 4u' : '';
  const [outer, inner] = alongK ? [`across_${i}`, `k_${i}`] : [`k_${i}`, `across_${i}`];
  return /* wgsl */ `
    across_${i} += origin_${name};
    from_${i} = (at.${name} + ${outer} * params.${name}_ld + ${inner})${unit};
    pitch_${i} = params.${name}_ld${unit};
    advance_${i} = ${alongK ? `${BLOCK_K}u${unit}` : `${BLOCK_K}u * pitch_${i}`};`;
}

/** WGSL: loads patch i, four rows or columns at four steps of k, into next<i>_0 to next<i>_3, one for each step. */
function loadPatch({ name, alongK, vector, across, whole }: Side, i: number): string {
  const [outer, inner, outerEnd, innerEnd] = alongK
    ? [`across_${i}`, `k_${i}`, `params.${across}`, 'params.k']
    : [`k_${i}`, `across_${i}`, 'params.k', `params.${across}`];
  const load = (j: number): string => {
    const base = `from_${i} + ${j}u * pitch_${i}`;
    if (whole) return `u${j} = ${name}[${base}];`;
    if (vector) return `if (${outer} + ${j}u < ${outerEnd} && ${inner} < ${innerEnd}) { u${j} = ${name}[${base}]; }`;
    const elements = range(4).map(
      (e) => `if (${inner} + ${e}u < ${innerEnd}) { u${j}[${e}] = ${name}[${base} + ${e}u]; }`,
    );
    return `if (${outer} + ${j}u < ${outerEnd}) { ${elements.join(' ')} }`;
  };
  const turned = range(4).map((j) => (alongK ? `vec4f(u0[${j}], u1[${j}], u2[${j}], u3[${j}])` : `u${j}`));
  return /* wgsl */ `
    var u0 = vec4f(); var u1 = vec4f(); var u2 = vec4f(); var u3 = vec4f();
    ${lines(4, load)}
    ${turned.map((v, j) => `next${i}_${j} = ${v};`).join(' ')}`;
}

/** What a product's sizes allow. */
function sidesOf({ m, n, k, a, b, y, batch = [] }: MatmulProblem, tile: number) {
  const whole = (sizes: number[], unit = 4): boolean => sizes.every((size) => size % unit === 0);
  const side = (name: 'a' | 'b', alongK: boolean, across: number): Side => {
    const operand = name === 'a' ? a : b;
    const vector = whole([operand.ld, operand.offset ?? 0, alongK ? k : across, ...batch.map((axis) => axis[name])]);
    const fits = vector && across % tile === 0 && k % BLOCK_K === 0;
    return { name, alongK, vector, across: name === 'a' ? 'm' : 'n', whole: fits };
  };
  const vectorY = whole([y.ld, y.offset ?? 0, n, ...batch.map((axis) => axis.y)]);
  return {
    sideA: side('a', !a.transposed, m),
    sideB: side('b', b.transposed, n),
    vectorY,
    wholeY: vectorY && m % tile === 0 && n % tile === 0,
  };
}

function launches(problem: MatmulProblem, tile: number, device: DeviceProfile): Launch[] {
  const { a, b, epilogue = {} } = problem;
  const { sideA, sideB, vectorY, wholeY } = sidesOf(problem, tile);
  const element = (vector: boolean): string => (vector ? 'vec4f' : 'f32');
  const tiles = tiling(problem, tile, tile);
  const layout = `${a.transposed ? 't' : 'n'}${b.transposed ? 't' : 'n'}`;
  const sideOf = (operand: 'a' | 'b'): Side => (operand === 'a' ? sideA : sideB);
  const hasEdges = !sideA.whole || !sideB.whole;
  const places = pieces(tile).map(
    (i) => /* wgsl */ `
  var across_${i} = x_${i}; var k_${i} = step_${i}; var from_${i} = 0u; var pitch_${i} = 0u; var advance_${i} = 0u;
  ${ofOperand(tile, i, (operand) => locate(sideOf(operand), i))}`,
  );
  const fetch = pieces(tile).map((i) => {
    const load = ofOperand(tile, i, (operand) => loadPatch(sideOf(operand), i));
    return `{ ${load} }\nfrom_${i} += advance_${i}; ${hasEdges ? `k_${i} += ${BLOCK_K}u;` : ''}`;
  });
  const store = vectorY
    ? epilogueWgsl(epilogue, { vector: true, sum: 'value', index: '(index / 4)', column: '(column / 4)' })
    : `for (var j = 0u; j < 4u; j++) { if (column + j < params.n) { ${epilogueWgsl(epilogue, {
        vector: false,
        sum: 'value[j]',
        index: '(index + j)',
        column: '(column + j)',
      })} } }`;
  const inside = (condition: string, body: string): string =>
    wholeY ? `{ ${body} }` : `if (${condition}) { ${body} }`;
  const stores = resultRows(tile).map(({ row, vectors }) => {
    const columns = vectors.map((vector) => {
      const body = `let value = ${vector.sum}; let index = at.y + row * params.y_ld + column; ${store}`;
      return `{ let column = origin_b + ${vector.column}; ${inside('column < params.n', body)} }`;
    });
    return `{ let row = origin_a + ${row}; ${inside('row < params.m', columns.join('\n'))} }`;
  });
  return [
    launch({
      name: `matmul/workgroup_${layout}_${tile}x${tile}`,
      bindings: matmulBindings(problem, {
        a: element(sideA.vector),
        b: element(sideB.vector),
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
  let origin_a = at.row * ${tile}u;
  let origin_b = at.column * ${tile}u;
  ${placesWgsl(tile)}
  ${places.join('\n')}
  ${sumsWgsl(tile, `(params.k + ${BLOCK_K - 1}u) / ${BLOCK_K}u`, fetch.join('\n'))}
  ${stores.join('\n')}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
