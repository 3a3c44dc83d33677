import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output } from '../lib/kernel.ts';
import type { Binding, Launch } from '../lib/kernel.ts';
import { lines } from '../lib/unroll.ts';
import {
  attentionCost,
  attentionGrid,
  attentionUniforms,
  granuleOf,
  HEADROOM,
  imageChunks,
  ownWgsl,
} from './problem.ts';
import type { AttentionProblem, Granule } from './problem.ts';

/*
 * For GPUs, and for devices without subgroups of a fixed size. An invocation owns one row (a query, or a key for its
 * gradients) in registers; the workgroup brings the tokens that the rows meet to workgroup memory, a few at a time, where
 * all invocations read the same address at once. The gradients of keys and of values are two kernels, so that an
 * invocation's rows fit its registers.
 */

const ROWS = 64;
/** Bytes of workgroup memory for one operand's tokens: with two, half of what every device has. */
const STAGE_BYTES = 4096;

interface Spec {
  name: string;
  bindings: readonly Binding[];
  products: number;
  body: string;
}

const tokensStaged = ({ width }: AttentionProblem): number =>
  Math.max(1, Math.min(64, Math.floor(STAGE_BYTES / 4 / width)));

function launches(problem: AttentionProblem, device: DeviceProfile, spec: Spec): Launch[] {
  const { element, parts } = granuleOf(problem);
  const staged = tokensStaged(problem);
  return imageChunks(
    problem,
    spec.bindings.map(({ name }) => name),
    device,
  ).map(({ rows: images, ranges }) =>
    launch({
      name: `attention.${spec.name}/workgroup_${problem.width}`,
      bindings: spec.bindings,
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

/** A loop over all tokens; for each, `body` sees it as the granules stage[place + e] of both stages. */
function overTokens(problem: AttentionProblem, first: string, second: string, body: string): string {
  const { parts } = granuleOf(problem);
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

const product = ({ lanes }: Granule, a: string, b: string): string => (lanes === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`);

/** let `into` = own . token */
const dots = (granule: Granule, into: string, own: string, stage: string): string =>
  `var ${into} = 0.0;\n${lines(granule.parts, (e) => `${into} += ${product(granule, `${own}${e}`, `${stage}[place + ${e}]`)};`)}`;

const add = ({ parts }: Granule, own: string, factor: string, stage: string): string =>
  lines(parts, (e) => `${own}${e} += ${factor} * ${stage}[place + ${e}];`);

const load = ({ parts }: Granule, own: string, from: string, times = ''): string =>
  lines(parts, (e) => `let ${own}${e} = ${from} + ${e}]${times};`);

const zeros = ({ parts, element }: Granule, own: string): string =>
  lines(parts, (e) => `var ${own}${e} = ${element}();`);

const store = ({ parts }: Granule, to: string, own: string, times = ''): string =>
  `if (wanted < params.tokens) {\n${lines(parts, (e) => `${to} + ${e}] = ${own}${e}${times};`)}\n}`;

const STAGED = {
  key: 'qkv[at.k + staged_token * params.row_stride + e]',
  value: 'qkv[at.v + staged_token * params.row_stride + e]',
  query: 'qkv[at.q + staged_token * params.row_stride + e]',
  up: 'dy[at.y + staged_token * y_stride + e]',
};
const OWN = {
  query: 'qkv[at.q + row * params.row_stride',
  key: 'qkv[at.k + row * params.row_stride',
  value: 'qkv[at.v + row * params.row_stride',
  up: 'dy[at.y + row * y_stride',
};

/** Bindings qkv, y, stats. */
export function forwardWorkgroup(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  const granule = granuleOf(problem);
  const { element, parts } = granule;
  return launches(problem, device, {
    name: 'forward',
    bindings: [input('qkv', element), output('y', element), output('stats', 'vec2f')],
    products: 2,
    body: /* wgsl */ `
${load(granule, 'q', OWN.query, ' * params.scale')}
${zeros(granule, 'o')}
var m = -1e38;
var l = 0.0;
${overTokens(
  problem,
  STAGED.key,
  STAGED.value,
  /* wgsl */ `
${dots(granule, 's', 'q', 'first_stage')}
// Rare: the reference moves, and what was summed with the old one is scaled.
if (s > m + ${HEADROOM}.0) {
  let moved = exp(m - s);
  m = s;
  l *= moved;
  ${lines(parts, (e) => `o${e} *= moved;`)}
}
let w = exp(s - m);
l += w;
${add(granule, 'o', 'w', 'second_stage')}`,
)}
let inverse = 1.0 / l;
${store(granule, 'y[at.y + row * y_stride', 'o', ' * inverse')}
if (wanted < params.tokens) { stats[at.stats + row] = vec2f(m, inverse); }`,
  });
}

/** Bindings qkv, y, dy, stats, dqkv (the part of the queries), delta [B, H, N] (written, for the keys). */
export function queryGradientWorkgroup(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  const granule = granuleOf(problem);
  const { element, parts } = granule;
  return launches(problem, device, {
    name: 'query_gradient',
    bindings: [
      input('qkv', element),
      input('y', element),
      input('dy', element),
      input('stats', 'vec2f'),
      output('dqkv', element),
      output('delta'),
    ],
    products: 3,
    body: /* wgsl */ `
${load(granule, 'q', OWN.query, ' * params.scale')}
${load(granule, 'g', OWN.up)}
${zeros(granule, 'dq')}
let reference = stats[at.stats + row];
var delta_i = 0.0;
${lines(parts, (e) => `delta_i += ${product(granule, `g${e}`, `y[at.y + row * y_stride + ${e}]`)};`)}
${overTokens(
  problem,
  STAGED.key,
  STAGED.value,
  /* wgsl */ `
${dots(granule, 's', 'q', 'first_stage')}
${dots(granule, 'dw', 'g', 'second_stage')}
let ds = exp(s - reference.x) * reference.y * (dw - delta_i);
${add(granule, 'dq', 'ds', 'first_stage')}`,
)}
${store(granule, 'dqkv[at.q + row * params.row_stride', 'dq', ' * params.scale')}
if (wanted < params.tokens) { delta[at.stats + row] = delta_i; }`,
  });
}

/** Bindings qkv, dy, stats, delta, dqkv (the parts of keys and values). */
export function keyValueGradientWorkgroup(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  const granule = granuleOf(problem);
  const { element } = granule;
  const shared = [input('qkv', element), input('dy', element), input('stats', 'vec2f')];
  const values = launches(problem, device, {
    name: 'value_gradient',
    bindings: [...shared, output('dqkv', element)],
    products: 2,
    body: /* wgsl */ `
${load(granule, 'k', OWN.key, ' * params.scale')}
${zeros(granule, 'dv')}
${overTokens(
  problem,
  STAGED.query,
  STAGED.up,
  /* wgsl */ `
${dots(granule, 's', 'k', 'first_stage')}
let reference = stats[at.stats + token];
let w = exp(s - reference.x) * reference.y;
${add(granule, 'dv', 'w', 'second_stage')}`,
)}
${store(granule, 'dqkv[at.v + row * params.row_stride', 'dv')}`,
  });
  const keys = launches(problem, device, {
    name: 'key_gradient',
    bindings: [...shared, input('delta'), output('dqkv', element)],
    products: 3,
    body: /* wgsl */ `
${load(granule, 'k', OWN.key, ' * params.scale')}
${load(granule, 'v', OWN.value)}
${zeros(granule, 'dk')}
${overTokens(
  problem,
  STAGED.query,
  STAGED.up,
  /* wgsl */ `
${dots(granule, 's', 'k', 'first_stage')}
${dots(granule, 'dw', 'v', 'second_stage')}
let reference = stats[at.stats + token];
let ds = exp(s - reference.x) * reference.y * (dw - delta[at.stats + token]);
${add(granule, 'dk', 'ds', 'first_stage')}`,
)}
${store(granule, 'dqkv[at.k + row * params.row_stride', 'dk', ' * params.scale')}`,
  });
  return [...values, ...keys];
}
