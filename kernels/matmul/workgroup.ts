import type { DeviceProfile } from '../lib/device.ts';
import { launch, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { lines, range } from '../lib/unroll.ts';
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
 * zeros; where no tile reaches past one, nothing asks for edges.
 *
 * Its form is what compilers make short loops of (`npm run bench -- --isa matmul/workgroup`): patches and sums are variables
 * with names, addresses advance by additions, indices of workgroup memory are bounded by `min`, which costs one instruction
 * where WebGPU's own clamp costs one an access, and loops have literal bounds and leave by `break`: others get a 64-bit
 * counter against endless ones.
 */

/** Steps of k that pass through workgroup memory together. */
const BLOCK_K = 16;
/** Vectors of that. */
const FOURS = BLOCK_K / 4;
/** Elements a side of what one invocation computes: two vectors each way, half a tile apart. */
const MICRO = 8;
/** Invocations that keep a large GPU busy: two waves of 32 for each of its 500 schedulers. With fewer, smaller tiles are taken. */
export const BUSY_INVOCATIONS = 32_000;
const LARGE_TILE = 128;
export const SMALL_TILE = 64;

/** Of a tile. */
export const invocations = (tile: number): number => (tile / MICRO) ** 2;

const bytesOf = (tile: number): number => 2 * 2 * BLOCK_K * tile * 4;

/** The variant of one tile. */
const tiled = (name: string, tile: number): Variant<MatmulProblem> => ({
  name,
  // Row sums are not this variant's.
  fits: ({ rowSums }, device) =>
    !rowSums && bytesOf(tile) <= device.maxWorkgroupStorage && invocations(tile) <= device.maxInvocationsPerWorkgroup,
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
  const [outer, inner] = alongK ? [`x_${i}`, `step_${i}`] : [`step_${i}`, `x_${i}`];
  return /* wgsl */ `
    x_${i} = origin_${name} + 4u * (patch_${i} / ${FOURS}u);
    from_${i} = (at.${name} + ${outer} * params.${name}_ld + ${inner})${unit};
    pitch_${i} = params.${name}_ld${unit};
    advance_${i} = ${alongK ? `${BLOCK_K}u${unit}` : `${BLOCK_K}u * pitch_${i}`};`;
}

/** WGSL: loads patch i, four rows or columns at four steps of k, into next<i>_0 to next<i>_3, one for each step. */
function loadPatch({ name, alongK, vector, across, whole }: Side, i: number): string {
  const [outer, inner, outerEnd, innerEnd] = alongK
    ? [`x_${i}`, `step_${i}`, `params.${across}`, 'params.k']
    : [`step_${i}`, `x_${i}`, 'params.k', `params.${across}`];
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

/** One step of k: two vectors of a column of a by two of a row of b. */
function multiply(tile: number, step: number): string {
  const side = tile / MICRO;
  const at = (step * tile) / 4;
  const row = (half: number, r: number): string =>
    [0, 1]
      .map((c) => {
        const sum = `sum${8 * half + 2 * r + c}`;
        return `${sum} = fma(vec4f(a${half}[${r}]), b${c}, ${sum});`;
      })
      .join(' ');
  return /* wgsl */ `{
      let a0 = stage[of_a][cell_a + ${at}u];
      let a1 = stage[of_a][cell_a + ${at + side}u];
      let b0 = stage[of_b][cell_b + ${at}u];
      let b1 = stage[of_b][cell_b + ${at + side}u];
      ${[0, 1].flatMap((half) => range(4).map((r) => row(half, r))).join('\n      ')}
      }`;
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

/** WGSL of the patches that an invocation passes on from block to block, `each` of them of both operands together. */
function passing(sideA: Side, sideB: Side, tile: number) {
  const threads = invocations(tile);
  const patches = (tile / 4) * FOURS;
  const pieces = range((2 * patches) / threads);
  /** What is said of patch i, of the operand that it is of. */
  const of = (i: number, what: (side: Side, i: number) => string): string => {
    if ((i + 1) * threads <= patches) return what(sideA, i);
    if (i * threads >= patches) return what(sideB, i);
    return `if (is_a_${i}) { ${what(sideA, i)} } else { ${what(sideB, i)} }`;
  };
  const hasEdges = !sideA.whole || !sideB.whole;
  return {
    places: pieces
      .map(
        (i) => /* wgsl */ `
  let is_a_${i} = ${i * threads}u + lane < ${patches}u;
  let patch_${i} = (${i * threads}u + lane) % ${patches}u;
  var step_${i} = 4u * (patch_${i} % ${FOURS}u);
  var x_${i} = 0u; var from_${i} = 0u; var pitch_${i} = 0u; var advance_${i} = 0u;
  ${of(i, locate)}
  let to_${i} = select(${FOURS}u, 0u, is_a_${i}) + patch_${i} % ${FOURS}u;
  let cell_${i} = min((patch_${i} / ${FOURS}u) ^ (2u * (patch_${i} % ${FOURS}u)), ${tile / 4 - 1}u);
  ${range(4)
    .map((j) => `var next${i}_${j} = vec4f();`)
    .join(' ')}`,
      )
      .join('\n'),
    fetch: pieces
      .map((i) => `{ ${of(i, loadPatch)} }\nfrom_${i} += advance_${i}; ${hasEdges ? `step_${i} += ${BLOCK_K}u;` : ''}`)
      .join('\n'),
    put: (buffer: string): string =>
      pieces
        .flatMap((i) =>
          range(4).map((j) => {
            const part = `min(${2 * FOURS}u * ${buffer} + to_${i}, ${4 * FOURS - 1}u)`;
            return `stage[${part}][cell_${i} + ${(j * tile) / 4}u] = next${i}_${j};`;
          }),
        )
        .join('\n'),
  };
}

function launches(problem: MatmulProblem, tile: number, device: DeviceProfile): Launch[] {
  const { a, b, epilogue = {} } = problem;
  const { sideA, sideB, vectorY, wholeY } = sidesOf(problem, tile);
  const side = tile / MICRO;
  const threads = side * side;
  const element = (vector: boolean): string => (vector ? 'vec4f' : 'f32');
  const tiles = tiling(problem, tile, tile);
  const layout = `${a.transposed ? 't' : 'n'}${b.transposed ? 't' : 'n'}`;
  const { places, fetch, put } = passing(sideA, sideB, tile);
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
  const storeRow = (r: number): string => {
    const columns = [0, 1].map((c) => {
      const body = `let value = sum${2 * r + c}; let index = at.y + row * params.y_ld + column; ${store}`;
      return `{ let column = origin_b + ${(c * tile) / 2}u + 4u * across; ${inside('column < params.n', body)} }`;
    });
    const row = `origin_a + ${Math.floor(r / 4) * (tile / 2) + (r % 4)}u + 4u * down`;
    return `{ let row = ${row}; ${inside('row < params.m', columns.join('\n'))} }`;
  };
  return [
    launch({
      name: `matmul/workgroup_${layout}_${tile}x${tile}`,
      bindings: matmulBindings(problem, {
        a: element(sideA.vector),
        b: element(sideB.vector),
        y: element(vectorY),
      }),
      // Not a constant: unrolling all of a block takes compilers long and gains nothing over four steps.
      uniforms: { ...matmulUniforms(problem, tiles), fours: u32(FOURS) },
      ranges: problem.ranges,
      wgsl: /* wgsl */ `
${placeWgsl}
${epilogueFunctions(epilogue)}
// Two buffers, each a's block and then b's, in parts of four steps of k.
var<workgroup> stage: array<array<vec4f, ${tile}>, ${4 * FOURS}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = linear_workgroup(workgroup, workgroups);
  if (tile >= params.tiles) { return; }
  let at = place(tile);
  let origin_a = at.row * ${tile}u;
  let origin_b = at.column * ${tile}u;
  let across = lane % ${side}u;
  let down = lane / ${side}u;
  let fours = params.fours;
  let blocks = (params.k + ${BLOCK_K - 1}u) / ${BLOCK_K}u;
  ${places}
  ${lines(2 * MICRO, (i) => `var sum${i} = vec4f();`)}
  ${fetch}
  ${put('0u')}
  workgroupBarrier();
  for (var block = 0u; block < 0xffffffffu; block++) {
    if (block >= blocks) { break; }
    let more = block + 1u < blocks;
    if (more) {
      ${fetch}
    }
    let buffer = block % 2u;
    for (var four = 0u; four < 16u; four++) {
      if (four >= fours) { break; }
      let of_a = min(${2 * FOURS}u * buffer + four, ${4 * FOURS - 1}u);
      let of_b = min(${2 * FOURS}u * buffer + ${FOURS}u + four, ${4 * FOURS - 1}u);
      let cell_a = min(down ^ (2u * four), ${side - 1}u);
      let cell_b = min(across ^ (2u * four), ${side - 1}u);
${range(4)
  .map((step) => multiply(tile, step))
  .join('\n')}
    }
    if (more) {
      ${put('(1u - buffer)')}
      workgroupBarrier();
    }
  }
  ${lines(MICRO, storeRow)}
}`,
      grid: tileGrid(tiles, device),
      cost: matmulCost(problem),
    }),
  ];
}
