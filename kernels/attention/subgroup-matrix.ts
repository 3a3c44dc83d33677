import { matrixSubgroup } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { launch, require, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import type { Variant } from '../lib/variant.ts';
import { range } from '../lib/unroll.ts';
import { holdsOwn, MASKED, Matrices, matrixSide, TILE } from './matrices.ts';
import {
  attentionCost,
  attentionGrid,
  attentionUniforms,
  F16_HEADROOM,
  imageChunks,
  ownWgsl,
  PARTS,
} from './problem.ts';
import type { AttentionPart, AttentionProblem, PartSpec } from './problem.ts';

/*
 * For GPUs with subgroup matrices (tensor cores): f16 operands, f32 sums. A workgroup owns TILE rows of a head (queries, or
 * keys for their gradients), each of its subgroups as many of them as a matrix has. The rows' operands and the sums for
 * them stay in registers as matrices, one for each `side` elements of the head.
 *
 * The tokens that the rows meet pass through workgroup memory, TILE at a time, past the end the last one again. The product of
 * rows and tokens is laid out in `scores`, where each row is minded by the same few lanes throughout: they mask, take
 * exponentials and sums in f32, and put what the next product takes, rounded to f16, in `probabilities`. Scores of tokens past
 * the end are as good as minus infinity; rows past the end are computed and not stored.
 *
 *     forward   scores = Q K^T   probabilities = exp(s - m)     O  += probabilities V
 *     query     scores = Q K^T, then dY V^T                     probabilities = ds   dQ += probabilities K
 *     keyValue  scores = K Q^T                                  probabilities = p    dV += probabilities dY
 *               scores = V dY^T                                 probabilities = ds   dK += probabilities Q
 *
 * The rounding of probabilities (2^-11 at most, of each) is what results have beyond the other variants' error. As exp(HEADROOM)
 * exceeds f16, the running max m grows sooner here, by F16_HEADROOM; after a row's first tokens that is still rare, so that
 * sums, which lanes can only reach through workgroup memory, seldom leave their registers.
 *
 * Rows in workgroup memory are longer than they need to be, so that those of a matrix begin in different banks, and
 * begin at multiples of 16 bytes, as matrices must. Heads of 64 fit the 16 KiB that every device has.
 *
 * Its WGSL is compiled by the tests, and run with the matrix functions emulated; it has not been run on a device that has
 * them.
 */

interface Spec extends PartSpec {
  /** Workgroup memory of its own. */
  memory?: (code: Matrices) => string;
  body(code: Matrices): string;
}

function launches(problem: AttentionProblem, device: DeviceProfile, spec: Spec): Launch[] {
  const side = matrixSide(problem, device);
  require(side !== null, 'attention/subgroup_matrix', 'f16, and heads of whole matrices that the device has', problem);
  const { lanes, enables, attribute } = matrixSubgroup(device);
  const code = new Matrices(problem.width, side, lanes);
  const bindings = spec.bindings('vec4f');
  const names = bindings.map(({ name }) => name);
  return imageChunks(problem, names, device).map(({ rows: images, ranges }) =>
    launch({
      name: `attention.${spec.name}/subgroup_matrix_${problem.width}`,
      enables: ['f16', 'subgroups', ...enables, 'chromium_experimental_subgroup_matrix'],
      bindings,
      uniforms: { ...attentionUniforms(problem, images, TILE), matrices: u32(TILE / side) },
      ranges,
      wgsl: /* wgsl */ `
${ownWgsl}
${code.workgroupMemory}
${spec.memory?.(code) ?? ''}
@compute @workgroup_size(${code.threads}) ${attribute}
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

/** How many of the tokens that it meets have a probability in the lane's row. */
const ROW_TOKENS = 'let row_tokens = select(0u, params.tokens, row < params.tokens);';

/** Vectors of a token in memory. */
const OF_TOKEN = {
  query: 'qkv[at.q + token * params.row_stride + e]',
  key: 'qkv[at.k + token * params.row_stride + e]',
  value: 'qkv[at.v + token * params.row_stride + e]',
  dy: 'dy[at.y + token * y_stride + e]',
};

function forwardSubgroupMatrix(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  return launches(problem, device, {
    ...PARTS.forward,
    memory: () => '// The tokens at which the running max of some row grew last.\nvar<workgroup> grew_at: atomic<u32>;',
    body: (code) => /* wgsl */ `
${code.loadTile('origin', { first_stage: OF_TOKEN.query })}
${code.own('q', 'first_stage')}
${code.zeros('o')}
var m = ${MASKED};
// Of the lane's own probabilities until the end.
var l = 0.0;
${code.loop(
  OF_TOKEN.key,
  OF_TOKEN.value,
  /* wgsl */ `
  ${code.scores('q', 'first_stage')}
  ${code.each((i, token, score) => `let s_${i} = select(${MASKED}, ${score} * params.scale, ${token} < params.tokens);`)}
  var most = s_0;
  ${code.each((i) => `most = max(most, s_${i});`)}
  ${code.overRow('most', (other) => `max(most, ${other})`)}
  var rescale = 1.0;
  if (most > m + ${F16_HEADROOM}.0) {
    rescale = exp(m - most);
    m = most;
    l *= rescale;
    atomicMax(&grew_at, base);
  }
  ${code.each((i, _token, _score, probability) => `let p_${i} = exp(s_${i} - m); l += p_${i}; ${probability} = f16(p_${i});`)}`,
  /* wgsl */ `
  // Rare after the first tokens: what was summed with the old maximum is rescaled.
  if (workgroupUniformLoad(&grew_at) == base && base > 0u) {
    ${code.through(
      'o',
      range(4)
        .map((j) => `scores[place + ${j}u] *= rescale;`)
        .join(' '),
      true,
    )}
  }
  ${code.add('o', 'second_stage')}`,
)}
${code.overRow('l', (other) => `l + ${other}`)}
let inverse = 1.0 / l;
${code.store('o', 'y[at.y + row * y_stride + e]', ' * inverse')}
if (row < params.tokens && part == 0u) { stats[at.stats + row] = vec2f(m, inverse); }`,
  });
}

function queryGradientSubgroupMatrix(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  return launches(problem, device, {
    ...PARTS.query,
    body: (code) => /* wgsl */ `
${code.loadTile('origin', { first_stage: OF_TOKEN.query, second_stage: OF_TOKEN.dy })}
${code.own('q', 'first_stage')}
${code.own('dy_row', 'second_stage')}
${code.zeros('dq')}
let token = min(row, params.tokens - 1);
let row_stats = stats[at.stats + token];
${ROW_TOKENS}
var delta_i = 0.0;
for (var e = part; e < params.parts; e += ${code.lanes}u) { delta_i += dot(${OF_TOKEN.dy}, y[at.y + token * y_stride + e]); }
${code.overRow('delta_i', (other) => `delta_i + ${other}`)}
${code.loop(
  OF_TOKEN.key,
  OF_TOKEN.value,
  /* wgsl */ `
  ${code.scores('q', 'first_stage')}
  ${code.each((i, met, score) => `let p_${i} = select(0.0, exp(${score} * params.scale - row_stats.x) * row_stats.y, ${met} < row_tokens);`)}`,
  /* wgsl */ `
  workgroupBarrier();
  ${code.scores('dy_row', 'second_stage')}
  ${code.each((i, _met, score, probability) => `${probability} = f16(p_${i} * (${score} - delta_i));`)}
  workgroupBarrier();
  ${code.add('dq', 'first_stage')}`,
)}
${code.store('dq', 'dqkv[at.q + row * params.row_stride + e]', ' * params.scale')}
if (row < params.tokens && part == 0u) { delta[at.stats + row] = delta_i; }`,
  });
}

function keyValueGradientSubgroupMatrix(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  // Sums of two operands and both their rows are more than the registers of RDNA3 hold.
  const isHeld = holdsOwn(problem, device);
  const [k, v] = isHeld ? ['first_own', 'second_own'] : ['k', 'v'];
  return launches(problem, device, {
    ...PARTS.keyValue,
    memory: (code) => (isHeld ? code.ownMemory : ''),
    body: (code) => /* wgsl */ `
${code.loadTile('origin', { [isHeld ? 'first_own' : 'first_stage']: OF_TOKEN.key, [isHeld ? 'second_own' : 'second_stage']: OF_TOKEN.value })}
${isHeld ? '' : `${code.own('k', 'first_stage')}\n${code.own('v', 'second_stage')}`}
${code.zeros('dk')}
${code.zeros('dv')}
${ROW_TOKENS}
${code.loop(
  OF_TOKEN.query,
  OF_TOKEN.dy,
  /* wgsl */ `
  ${code.scores(k, 'first_stage')}
  ${code.each(
    (i, query, score, probability) => /* wgsl */ `
  let query_${i} = at.stats + min(${query}, params.tokens - 1);
  let stats_${i} = stats[query_${i}];
  let p_${i} = select(0.0, exp(${score} * params.scale - stats_${i}.x) * stats_${i}.y, ${query} < row_tokens);
  ${probability} = f16(p_${i});`,
  )}`,
  /* wgsl */ `
  workgroupBarrier();
  ${code.add('dv', 'second_stage')}
  ${code.scores(v, 'second_stage')}
  ${code.each((i, _query, score, probability) => `${probability} = f16(p_${i} * (${score} - delta[query_${i}]));`)}
  workgroupBarrier();
  ${code.add('dk', 'first_stage')}`,
)}
${code.store('dk', 'dqkv[at.k + row * params.row_stride + e]', ' * params.scale')}
${code.store('dv', 'dqkv[at.v + row * params.row_stride + e]')}`,
  });
}

export const subgroupMatrix = (part: AttentionPart): Variant<AttentionProblem> => ({
  name: 'subgroup_matrix',
  fits: (problem, device) => matrixSide(problem, device) !== null,
  launches: {
    forward: forwardSubgroupMatrix,
    query: queryGradientSubgroupMatrix,
    keyValue: keyValueGradientSubgroupMatrix,
  }[part],
});
