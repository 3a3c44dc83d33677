import type { DeviceProfile } from '../lib/device.ts';
import { launch, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import type { Variant } from '../lib/variant.ts';
import { epilogueFunctions, epilogueWgsl } from './epilogue.ts';
import { matmulBindings, matmulCost, matmulUniforms, placeWgsl, tileGrid, tiling } from './problem.ts';
import type { MatmulProblem } from './problem.ts';

/*
 * For GPUs: a workgroup computes a square tile of y, each invocation 8 x 8 elements of it in registers. Blocks of BLOCK_K
 * steps of k pass through workgroup memory, in two buffers: the loads of the next block are under way while this one is
 * multiplied, and there is one barrier a block.
 *
 * Both operands are loaded as patches of 4 x 4, four vectors an invocation, transposed in registers where they lie along k,
 * so that workgroup memory always holds [k][row or column] in vectors. A patch's column is exchanged (exclusive or with
 * 2 * its k / 4), so that the invocations of a subgroup write to different banks. What lies past the edges is loaded as
 * zeros.
 */

/** Steps of k that pass through workgroup memory together. */
const BLOCK_K = 16;
/** Elements a side of what one invocation computes: two vectors each way, half a tile apart. */
const MICRO = 8;
/** Workgroups that keep a large GPU busy; with fewer large tiles, small ones are taken. */
export const BUSY_WORKGROUPS = 120;
const LARGE_TILE = 128;
export const SMALL_TILE = 64;

const bytesOf = (tile: number): number => 2 * 2 * BLOCK_K * tile * 4;

/** The variant of one tile. */
const tiled = (name: string, tile: number): Variant<MatmulProblem> => ({
  name,
  // Row sums are not this variant's.
  fits: ({ rowSums }, device) =>
    !rowSums && bytesOf(tile) <= device.maxWorkgroupStorage && (tile / MICRO) ** 2 <= device.maxInvocationsPerWorkgroup,
  use: (problem, device) => {
    // On a processor, barriers between lanes are hopeless, and slow to compile.
    if (device.cpu) return 'named';
    return tile === SMALL_TILE || tiling(problem, tile, tile).tiles >= BUSY_WORKGROUPS ? 'default' : 'tuned';
  },
  launches: (problem, device) => launches(problem, tile, device),
});

export const workgroupLarge = tiled('workgroup_large', LARGE_TILE);
export const workgroup = tiled('workgroup', SMALL_TILE);

interface Side {
  /** Name of the binding and of its workgroup memory. */
  readonly name: 'a' | 'b';
  /** Vectors lie along k in memory. */
  readonly alongK: boolean;
  /** Rows and starts of rows are whole vectors, so that vectors are loaded. */
  readonly vector: boolean;
  /** Uniforms: elements across (m or n), and between stored rows. */
  readonly across: 'm' | 'n';
  readonly ld: string;
}

/** WGSL: loads patch number `block` of the operand at k into `next`: four rows or columns at four steps of k. */
function loadTile({ name, alongK, vector, across, ld }: Side): string {
  const [outer, inner, outerEnd, innerEnd] = alongK
    ? ['x', 'step', `params.${across}`, 'params.k']
    : ['step', 'x', 'params.k', `params.${across}`];
  const load = (j: number): string => {
    const base = `at.${name} + (${outer} + ${j}) * params.${ld} + ${inner}`;
    if (vector)
      return `if (${outer} + ${j} < ${outerEnd} && ${inner} < ${innerEnd}) { u${j} = ${name}[(${base}) / 4]; }`;
    const elements = [0, 1, 2, 3].map(
      (i) => `if (${inner} + ${i} < ${innerEnd}) { u${j}[${i}] = ${name}[${base} + ${i}]; }`,
    );
    return `if (${outer} + ${j} < ${outerEnd}) { ${elements.join(' ')} }`;
  };
  const turned = [0, 1, 2, 3].map((j) => (alongK ? `vec4f(u0[${j}], u1[${j}], u2[${j}], u3[${j}])` : `u${j}`));
  return /* wgsl */ `
    let x = origin_${name} + 4 * (block / ${BLOCK_K / 4});
    let step = k + 4 * (block % ${BLOCK_K / 4});
    var u0 = vec4f(); var u1 = vec4f(); var u2 = vec4f(); var u3 = vec4f();
    ${[0, 1, 2, 3].map(load).join('\n')}
    ${turned.map((v, j) => `next[i * 4 + ${j}] = ${v};`).join(' ')}`;
}

/** One step of k: two vectors of a column of a by two of a row of b. */
function multiply(tile: number, vectors: number, step: number): string {
  const side = tile / MICRO;
  const at = `source + ${(step * tile) / 4}`;
  const row = (half: number, r: number): string =>
    [0, 1]
      .map((c) => {
        const sum = `sums[${8 * half + 2 * r + c}]`;
        return `${sum} = fma(vec4f(a${half}[${r}]), b${c}, ${sum});`;
      })
      .join(' ');
  return /* wgsl */ `{
      let a0 = stage[${at} + (down ^ exchange)];
      let a1 = stage[${at} + ((down + ${side}) ^ exchange)];
      let b0 = stage[${at} + ${vectors} + (across ^ exchange)];
      let b1 = stage[${at} + ${vectors} + ((across + ${side}) ^ exchange)];
      ${[0, 1].flatMap((half) => [0, 1, 2, 3].map((r) => row(half, r))).join('\n      ')}
      }`;
}

function launches(problem: MatmulProblem, tile: number, device: DeviceProfile): Launch[] {
  const { a, b, y, batch = [], epilogue = {} } = problem;
  const side = tile / MICRO;
  const threads = side * side;
  const whole = (sizes: number[]): boolean => sizes.every((size) => size % 4 === 0);
  const sideA: Side = {
    name: 'a',
    alongK: !a.transposed,
    vector: whole([a.ld, a.offset ?? 0, a.transposed ? problem.m : problem.k, ...batch.map((axis) => axis.a)]),
    across: 'm',
    ld: 'a_ld',
  };
  const sideB: Side = {
    name: 'b',
    alongK: b.transposed,
    vector: whole([b.ld, b.offset ?? 0, b.transposed ? problem.k : problem.n, ...batch.map((axis) => axis.b)]),
    across: 'n',
    ld: 'b_ld',
  };
  const vectorY = whole([y.ld, y.offset ?? 0, problem.n, ...batch.map((axis) => axis.y)]);
  const element = (vector: boolean): string => (vector ? 'vec4f' : 'f32');
  const tiles = tiling(problem, tile, tile);
  // Patches of an operand in a block, and how many an invocation loads of both together.
  const blocks = (tile / 4) * (BLOCK_K / 4);
  const each = (2 * blocks) / threads;
  const vectors = (BLOCK_K * tile) / 4;
  const layout = `${a.transposed ? 't' : 'n'}${b.transposed ? 't' : 'n'}`;
  const store = vectorY
    ? epilogueWgsl(epilogue, { vector: true, sum: 'value', index: '(index / 4)', column: '(column / 4)' })
    : `for (var j = 0u; j < min(4u, params.n - column); j++) { ${epilogueWgsl(epilogue, {
        vector: false,
        sum: 'value[j]',
        index: '(index + j)',
        column: '(column + j)',
      })} }`;
  const transfer = (what: (s: Side, offset: string) => string): string => /* wgsl */ `
  for (var i = 0u; i < ${each}; i++) {
    let number = i * ${threads} + lane;
    if (number < ${blocks}) {
      let block = number;
      ${what(sideA, '0')}
    } else {
      let block = number - ${blocks};
      ${what(sideB, String(vectors))}
    }
  }`;
  const fetch = transfer(loadTile);
  const put = transfer((_side, offset) => {
    const to = `buffer * ${2 * vectors} + ${offset} + 4 * (block % ${BLOCK_K / 4}) * ${tile / 4} + ((block / ${BLOCK_K / 4}) ^ (2 * (block % ${BLOCK_K / 4})))`;
    return `let to = ${to}; ${[0, 1, 2, 3].map((j) => `stage[to + ${(j * tile) / 4}] = next[i * 4 + ${j}];`).join(' ')}`;
  });
  return [
    launch({
      name: `matmul/workgroup_${layout}_${tile}x${tile}`,
      bindings: matmulBindings(problem, {
        a: element(sideA.vector),
        b: element(sideB.vector),
        y: element(vectorY),
      }),
      // Not a constant: unrolling all of a block takes compilers long and gains nothing over four steps.
      uniforms: { ...matmulUniforms(problem, tiles), fours: u32(BLOCK_K / 4) },
      ranges: problem.ranges,
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(epilogue)}
// Two buffers, each a's block and then b's.
var<workgroup> stage: array<vec4f, ${4 * vectors}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = linear_workgroup(workgroup, workgroups);
  if (tile >= params.tiles) { return; }
  let at = place(tile);
  let origin_a = at.row * ${tile};
  let origin_b = at.column * ${tile};
  let across = lane % ${side};
  let down = lane / ${side};
  var next: array<vec4f, ${4 * each}>;
  var sums: array<vec4f, ${MICRO * 2}>;
  var k = 0u;
  var buffer = 0u;
  ${fetch}
  ${put}
  workgroupBarrier();
  for (; k < params.k; ) {
    let more = k + ${BLOCK_K} < params.k;
    k += ${BLOCK_K};
    if (more) {
      ${fetch}
    }
    for (var four = 0u; four < params.fours; four++) {
      let exchange = 2 * four;
      let source = buffer * ${2 * vectors} + four * ${tile};
${[0, 1, 2, 3].map((step) => multiply(tile, vectors, step)).join('\n')}
    }
    if (more) {
      buffer = 1 - buffer;
      ${put}
      workgroupBarrier();
    }
  }
  for (var r = 0u; r < ${MICRO}; r++) {
    let row = origin_a + (r / 4) * ${tile / 2} + 4 * down + r % 4;
    if (row >= params.m) { continue; }
    for (var c = 0u; c < 2; c++) {
      let column = origin_b + c * ${tile / 2} + 4 * across;
      if (column >= params.n) { break; }
      let value = sums[r * 2 + c];
      let index = at.y + row * params.y_ld + column;
      ${store}
    }
  }
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
