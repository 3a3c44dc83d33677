import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, require } from '../lib/kernel.ts';
import type { Binding, Launch } from '../lib/kernel.ts';
import { range } from '../lib/unroll.ts';
import { MASKED, Matrices, matrixSide, TILE } from './matrices.ts';
import { attentionCost, attentionGrid, attentionUniforms, HALF_HEADROOM, imageChunks, ownWgsl } from './problem.ts';
import type { AttentionProblem } from './problem.ts';

/*
 * For GPUs with subgroup matrices (tensor cores): f16 operands, f32 sums. A workgroup owns TILE rows of a head (queries, or
 * keys for their gradients), each of its subgroups as many of them as a matrix has. The rows' operands and the sums for
 * them stay in registers as matrices, one for each `side` elements of the head.
 *
 * The tokens that the rows meet pass through workgroup memory, TILE at a time, those past the end as zeros. The product of
 * rows and tokens is laid out in `scores`, where each row is minded by the same few lanes throughout: they mask, take
 * exponentials and sums in f32, and put what the next product takes, rounded to f16, in `weights`. Scores of tokens past
 * the end are as good as minus infinity; rows past the end are computed and not stored.
 *
 *     forward   scores = Q K^T   weights = exp(s - m)                              O  += weights V
 *     query     scores = Q K^T, then dY V^T                     weights = ds       dQ += weights K
 *     keyValue  scores = K Q^T                                  weights = w        dV += weights dY
 *               scores = V dY^T                                 weights = ds       dK += weights Q
 *
 * The rounding of weights (2^-11 at most, of each) is what results have beyond the other variants' error. As exp(HEADROOM)
 * exceeds f16, the reference m moves sooner here, by HALF_HEADROOM; after a row's first tokens that is still rare, so that
 * sums, which lanes can only reach through workgroup memory, seldom leave their registers.
 *
 * Rows in workgroup memory are longer than they need to be, so that those of a matrix begin in different banks, and
 * begin at multiples of 16 bytes, as matrices must. Heads of 64 fit the 16 KiB that every device has.
 *
 * Its WGSL is compiled by the tests, and run with the matrix functions emulated; it has not been run on a device that has
 * them.
 */

interface Spec {
  name: string;
  bindings: readonly Binding[];
  products: number;
  /** Workgroup memory of its own. */
  memory?: string;
  body(code: Matrices): string;
}

function launches(problem: AttentionProblem, device: DeviceProfile, spec: Spec): Launch[] {
  const side = matrixSide(problem, device);
  require(side !== null, 'attention/subgroup_matrix', 'f16, and heads of whole matrices that the device has', problem);
  const code = new Matrices(problem.width, side, device.subgroupSize);
  const names = spec.bindings.map(({ name }) => name);
  return imageChunks(problem, names, device).map(({ rows: images, ranges }) =>
    launch({
      name: `attention.${spec.name}/subgroup_matrix_${problem.width}`,
      enables: ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'],
      bindings: spec.bindings,
      uniforms: attentionUniforms(problem, images, TILE),
      ranges,
      wgsl: /* wgsl */ `
${ownWgsl}
${code.workgroupMemory}
${spec.memory ?? ''}
@compute @workgroup_size(${code.threads})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup: u32,
        @builtin(subgroup_invocation_id) subgroup_lane: u32) {
let index = linear_workgroup(workgroup, workgroups);
if (index >= params.workgroups) { return; }
let at = own(index);
let y_stride = params.heads * params.parts;
let origin = at.tile * ${TILE}u;
${code.place}
${spec.body(code)}
}`,
      grid: attentionGrid(problem, images, TILE, device),
      cost: attentionCost(problem, images, spec.products),
    }),
  );
}

/** How many of the tokens that it meets have a weight in the lane's row. */
const ROW_TOKENS = 'let row_tokens = select(0u, params.tokens, row < params.tokens);';

/** Vectors of a token in memory. */
const OF_TOKEN = {
  query: 'qkv[at.q + token * params.row_stride + e]',
  key: 'qkv[at.k + token * params.row_stride + e]',
  value: 'qkv[at.v + token * params.row_stride + e]',
  up: 'dy[at.y + token * y_stride + e]',
};

/** Bindings qkv, y, stats. */
export function forwardSubgroupMatrix(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  return launches(problem, device, {
    name: 'forward',
    bindings: [input('qkv', 'vec4f'), output('y', 'vec4f'), output('stats', 'vec2f')],
    products: 2,
    memory: '// The tokens at which the reference of some row moved last.\nvar<workgroup> moved_at: atomic<u32>;',
    body: (code) => /* wgsl */ `
${code.bring('origin', OF_TOKEN.query)}
${code.own('q', 'first_stage')}
${code.zeros('o')}
var m = ${MASKED};
// Of the lane's own weights until the end.
var l = 0.0;
for (var base = 0u; base < params.tokens; base += ${TILE}u) {
  ${code.bring('base', OF_TOKEN.key, OF_TOKEN.value)}
  ${code.scores('q', 'first_stage')}
  ${code.each((i, token, score) => `let s_${i} = select(${MASKED}, ${score} * params.scale, ${token} < params.tokens);`)}
  var most = s_0;
  ${code.each((i) => `most = max(most, s_${i});`)}
  ${code.overRow('most', (other) => `max(most, ${other})`)}
  var moved = 1.0;
  if (most > m + ${HALF_HEADROOM}.0) {
    moved = exp(m - most);
    m = most;
    l *= moved;
    atomicMax(&moved_at, base);
  }
  ${code.each((i, _token, _score, weight) => `let w_${i} = exp(s_${i} - m); l += w_${i}; ${weight} = f16(w_${i});`)}
  // Rare after the first tokens: what was summed with the old reference is scaled.
  if (workgroupUniformLoad(&moved_at) == base && base > 0u) {
    ${code.through(
      'o',
      range(4)
        .map((j) => `scores[place + ${j}u] *= moved;`)
        .join(' '),
      true,
    )}
  }
  ${code.add('o', 'second_stage')}
}
${code.overRow('l', (other) => `l + ${other}`)}
let inverse = 1.0 / l;
${code.store('o', 'y[at.y + row * y_stride + e]', ' * inverse')}
if (row < params.tokens && part == 0u) { stats[at.stats + row] = vec2f(m, inverse); }`,
  });
}

/** Bindings qkv, y, dy, stats, dqkv (the part of the queries), delta [B, H, N] (written, for the keys). */
export function queryGradientSubgroupMatrix(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  return launches(problem, device, {
    name: 'query_gradient',
    bindings: [
      input('qkv', 'vec4f'),
      input('y', 'vec4f'),
      input('dy', 'vec4f'),
      input('stats', 'vec2f'),
      output('dqkv', 'vec4f'),
      output('delta'),
    ],
    products: 3,
    body: (code) => /* wgsl */ `
${code.bring('origin', OF_TOKEN.query, OF_TOKEN.up)}
${code.own('q', 'first_stage')}
${code.own('g', 'second_stage')}
${code.zeros('dq')}
let token = min(row, params.tokens - 1);
let reference = stats[at.stats + token];
${ROW_TOKENS}
var delta_i = 0.0;
for (var e = part; e < params.parts; e += ${code.lanes}u) { delta_i += dot(${OF_TOKEN.up}, y[at.y + token * y_stride + e]); }
${code.overRow('delta_i', (other) => `delta_i + ${other}`)}
for (var base = 0u; base < params.tokens; base += ${TILE}u) {
  ${code.bring('base', OF_TOKEN.key, OF_TOKEN.value)}
  ${code.scores('q', 'first_stage')}
  ${code.each((i, met, score) => `let w_${i} = select(0.0, exp(${score} * params.scale - reference.x) * reference.y, ${met} < row_tokens);`)}
  workgroupBarrier();
  ${code.scores('g', 'second_stage')}
  ${code.each((i, _met, score, weight) => `${weight} = f16(w_${i} * (${score} - delta_i));`)}
  workgroupBarrier();
  ${code.add('dq', 'first_stage')}
}
${code.store('dq', 'dqkv[at.q + row * params.row_stride + e]', ' * params.scale')}
if (row < params.tokens && part == 0u) { delta[at.stats + row] = delta_i; }`,
  });
}

/** Bindings qkv, dy, stats, delta, dqkv (the parts of keys and values). */
export function keyValueGradientSubgroupMatrix(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  return launches(problem, device, {
    name: 'key_value_gradient',
    bindings: [
      input('qkv', 'vec4f'),
      input('dy', 'vec4f'),
      input('stats', 'vec2f'),
      input('delta'),
      output('dqkv', 'vec4f'),
    ],
    products: 4,
    body: (code) => /* wgsl */ `
${code.bring('origin', OF_TOKEN.key, OF_TOKEN.value)}
${code.own('k', 'first_stage')}
${code.own('v', 'second_stage')}
${code.zeros('dk')}
${code.zeros('dv')}
${ROW_TOKENS}
for (var base = 0u; base < params.tokens; base += ${TILE}u) {
  ${code.bring('base', OF_TOKEN.query, OF_TOKEN.up)}
  ${code.scores('k', 'first_stage')}
  ${code.each(
    (i, query, score, weight) => /* wgsl */ `
  let query_${i} = at.stats + min(${query}, params.tokens - 1);
  let reference_${i} = stats[query_${i}];
  let w_${i} = select(0.0, exp(${score} * params.scale - reference_${i}.x) * reference_${i}.y, ${query} < row_tokens);
  ${weight} = f16(w_${i});`,
  )}
  workgroupBarrier();
  ${code.add('dv', 'second_stage')}
  ${code.scores('v', 'second_stage')}
  ${code.each((i, _query, score, weight) => `${weight} = f16(w_${i} * (${score} - delta[query_${i}]));`)}
  workgroupBarrier();
  ${code.add('dk', 'first_stage')}
}
${code.store('dk', 'dqkv[at.k + row * params.row_stride + e]', ' * params.scale')}
${code.store('dv', 'dqkv[at.v + row * params.row_stride + e]')}`,
  });
}
