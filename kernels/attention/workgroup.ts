import { hasSubgroups } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { launch } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import type { Variant } from '../lib/variant.ts';
import { lines } from '../lib/unroll.ts';
import {
  attentionCost,
  attentionGrid,
  attentionUniforms,
  headVectors,
  HEADROOM,
  imageChunks,
  ownWgsl,
  PARTS,
} from './problem.ts';
import type { AttentionPart, AttentionProblem, HeadVectors, PartSpec } from './problem.ts';

/*
 * For GPUs, and for devices without subgroups of a fixed size. An invocation owns one row (a query, or a key for its
 * gradients) in registers; the workgroup loads the tokens that the rows meet into workgroup memory, a few at a time, where
 * all invocations read the same address at once. The gradients of keys and of values are two kernels, so that an
 * invocation's rows fit its registers.
 */

const ROWS = 64;
/** Bytes of workgroup memory for one operand's tokens: with two, half of what every device has. */
const STAGE_BYTES = 4096;

interface Spec extends PartSpec {
  body: string;
}

const tokensStaged = ({ width }: AttentionProblem): number =>
  Math.max(1, Math.min(64, Math.floor(STAGE_BYTES / 4 / width)));

function launches(problem: AttentionProblem, device: DeviceProfile, spec: Spec): Launch[] {
  const { element, parts } = headVectors(problem);
  const staged = tokensStaged(problem);
  const bindings = spec.bindings(element);
  return imageChunks(
    problem,
    bindings.map(({ name }) => name),
    device,
  ).map(({ rows: images, ranges }) =>
    launch({
      name: `attention.${spec.name}/workgroup_${problem.width}`,
      bindings,
      uniforms: attentionUniforms(problem, images, ROWS),
      ranges,
      wgsl: /* wgsl */ `
${ownWgsl}
var<workgroup> first_stage: array<${element}, ${staged * parts}>;
var<workgroup> second_stage: array<${element}, ${staged * parts}>;
@compute @workgroup_size(${ROWS})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
let index = linear_workgroup(workgroup, workgroups);
if (index >= params.workgroups) { return; }
let at = own(index);
let wanted = at.tile * ${ROWS} + lane;
let row = min(wanted, params.tokens - 1);
let y_stride = params.heads * params.parts;
${spec.body}
}`,
      grid: attentionGrid(problem, images, ROWS, device),
      cost: attentionCost(problem, images, spec.products),
    }),
  );
}

/** A loop over all tokens; for each, `body` sees it as the vectors stage[place + e] of both stages. */
function overTokens(problem: AttentionProblem, first: string, second: string, body: string): string {
  const { parts } = headVectors(problem);
  const staged = tokensStaged(problem);
  return /* wgsl */ `
for (var base = 0u; base < params.tokens; base += ${staged}) {
  workgroupBarrier();
  for (var i = lane; i < ${staged * parts}; i += ${ROWS}) {
    let staged_token = min(base + i / ${parts}, params.tokens - 1);
    let e = i % ${parts};
    first_stage[i] = ${first};
    second_stage[i] = ${second};
  }
  workgroupBarrier();
  for (var t = 0u; t < min(${staged}u, params.tokens - base); t++) {
    let place = t * ${parts};
    let token = base + t;
    ${body}
  }
}`;
}

const product = ({ lanes }: HeadVectors, a: string, b: string): string =>
  lanes === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`;

/** let `into` = own . token */
const dots = (head: HeadVectors, into: string, own: string, stage: string): string =>
  `var ${into} = 0.0;\n${lines(head.parts, (e) => `${into} += ${product(head, `${own}${e}`, `${stage}[place + ${e}]`)};`)}`;

const add = ({ parts }: HeadVectors, own: string, factor: string, stage: string): string =>
  lines(parts, (e) => `${own}${e} += ${factor} * ${stage}[place + ${e}];`);

const load = ({ parts }: HeadVectors, own: string, from: string, times = ''): string =>
  lines(parts, (e) => `let ${own}${e} = ${from} + ${e}]${times};`);

const zeros = ({ parts, element }: HeadVectors, own: string): string =>
  lines(parts, (e) => `var ${own}${e} = ${element}();`);

const store = ({ parts }: HeadVectors, to: string, own: string, times = ''): string =>
  `if (wanted < params.tokens) {\n${lines(parts, (e) => `${to} + ${e}] = ${own}${e}${times};`)}\n}`;

const STAGED = {
  key: 'qkv[at.k + staged_token * params.row_stride + e]',
  value: 'qkv[at.v + staged_token * params.row_stride + e]',
  query: 'qkv[at.q + staged_token * params.row_stride + e]',
  dy: 'dy[at.y + staged_token * y_stride + e]',
};
const OWN = {
  query: 'qkv[at.q + row * params.row_stride',
  key: 'qkv[at.k + row * params.row_stride',
  value: 'qkv[at.v + row * params.row_stride',
  dy: 'dy[at.y + row * y_stride',
};

function forwardWorkgroup(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  const head = headVectors(problem);
  const { parts } = head;
  return launches(problem, device, {
    ...PARTS.forward,
    body: /* wgsl */ `
${load(head, 'q', OWN.query, ' * params.scale')}
${zeros(head, 'o')}
var m = -1e38;
var l = 0.0;
${overTokens(
  problem,
  STAGED.key,
  STAGED.value,
  /* wgsl */ `
${dots(head, 's', 'q', 'first_stage')}
// Rare: the running max grows, and what was summed with the old one is rescaled.
if (s > m + ${HEADROOM}.0) {
  let rescale = exp(m - s);
  m = s;
  l *= rescale;
  ${lines(parts, (e) => `o${e} *= rescale;`)}
}
let p = exp(s - m);
l += p;
${add(head, 'o', 'p', 'second_stage')}`,
)}
let inverse = 1.0 / l;
${store(head, 'y[at.y + row * y_stride', 'o', ' * inverse')}
if (wanted < params.tokens) { stats[at.stats + row] = vec2f(m, inverse); }`,
  });
}

function queryGradientWorkgroup(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  const head = headVectors(problem);
  const { parts } = head;
  return launches(problem, device, {
    ...PARTS.query,
    body: /* wgsl */ `
${load(head, 'q', OWN.query, ' * params.scale')}
${load(head, 'dy_row', OWN.dy)}
${zeros(head, 'dq')}
let row_stats = stats[at.stats + row];
var delta_i = 0.0;
${lines(parts, (e) => `delta_i += ${product(head, `dy_row${e}`, `y[at.y + row * y_stride + ${e}]`)};`)}
${overTokens(
  problem,
  STAGED.key,
  STAGED.value,
  /* wgsl */ `
${dots(head, 's', 'q', 'first_stage')}
${dots(head, 'dp', 'dy_row', 'second_stage')}
let ds = exp(s - row_stats.x) * row_stats.y * (dp - delta_i);
${add(head, 'dq', 'ds', 'first_stage')}`,
)}
${store(head, 'dqkv[at.q + row * params.row_stride', 'dq', ' * params.scale')}
if (wanted < params.tokens) { delta[at.stats + row] = delta_i; }`,
  });
}

function keyValueGradientWorkgroup(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  const head = headVectors(problem);
  const values = launches(problem, device, {
    ...PARTS.value,
    body: /* wgsl */ `
${load(head, 'k', OWN.key, ' * params.scale')}
${zeros(head, 'dv')}
${overTokens(
  problem,
  STAGED.query,
  STAGED.dy,
  /* wgsl */ `
${dots(head, 's', 'k', 'first_stage')}
let row_stats = stats[at.stats + token];
let p = exp(s - row_stats.x) * row_stats.y;
${add(head, 'dv', 'p', 'second_stage')}`,
)}
${store(head, 'dqkv[at.v + row * params.row_stride', 'dv')}`,
  });
  const keys = launches(problem, device, {
    ...PARTS.key,
    body: /* wgsl */ `
${load(head, 'k', OWN.key, ' * params.scale')}
${load(head, 'v', OWN.value)}
${zeros(head, 'dk')}
${overTokens(
  problem,
  STAGED.query,
  STAGED.dy,
  /* wgsl */ `
${dots(head, 's', 'k', 'first_stage')}
${dots(head, 'dp', 'v', 'second_stage')}
let row_stats = stats[at.stats + token];
let ds = exp(s - row_stats.x) * row_stats.y * (dp - delta[at.stats + token]);
${add(head, 'dk', 'ds', 'first_stage')}`,
)}
${store(head, 'dqkv[at.k + row * params.row_stride', 'dk', ' * params.scale')}`,
  });
  return [...values, ...keys];
}

export const workgroup = (part: AttentionPart): Variant<AttentionProblem> => ({
  name: 'workgroup',
  fits: () => true,
  // On a processor with subgroups, barriers between lanes are hopeless, and slow to compile.
  use: (_problem, device) => (device.cpu && hasSubgroups(device) ? 'named' : 'default'),
  launches: { forward: forwardWorkgroup, query: queryGradientWorkgroup, keyValue: keyValueGradientWorkgroup }[part],
});
