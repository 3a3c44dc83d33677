import { hasSubgroups } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { launch, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import type { Variant } from '../lib/variant.ts';
import { lines, range } from '../lib/unroll.ts';
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
 *
 * Tokens are met a few at a time, so that their sums do not wait for each other. What is read from workgroup memory twice is
 * read twice: compilers would rather keep it, and spill the rows, so that they are not told that it is the same
 * (`params.unknown_zero`). `npm run bench -- --isa attention` shows what comes of it.
 */

const ROWS = 64;
/** Bytes of workgroup memory for one operand's tokens: with two, half of what every device has. */
const STAGE_BYTES = 4096;

/** How many tokens `tokens` names are met together. */
interface Spec extends PartSpec {
  body: (tokens: Tokens) => string;
}

/** Tokens that are met together, if so many are staged. */
const TOGETHER: Readonly<Record<string, number>> = {
  forward: 4,
  query_gradient: 2,
  value_gradient: 4,
  key_gradient: 2,
};
/** The score of what lies past the last token: exp of it is zero. */
const MASKED = '-1e38';

/** Tokens that are met together, and those that are staged: a multiple of these. */
function tokensOf(
  { width }: AttentionProblem,
  { name }: Spec,
  { cpu }: DeviceProfile,
): { together: number; staged: number } {
  const most = Math.max(1, Math.min(64, Math.floor(STAGE_BYTES / 4 / width)));
  // Compilers for processors take minutes for several tokens of wide heads.
  const isLong = cpu && width > 32;
  const together = most >= TOGETHER[name] && !isLong ? TOGETHER[name] : 1;
  return { together, staged: most - (most % together) };
}

function launches(problem: AttentionProblem, device: DeviceProfile, spec: Spec): Launch[] {
  const { element, parts } = headVectors(problem);
  const { together, staged } = tokensOf(problem, spec, device);
  const bindings = spec.bindings(element);
  return imageChunks(
    problem,
    bindings.map(({ name }) => name),
    device,
  ).map(({ rows: images, ranges }) =>
    launch({
      name: `attention.${spec.name}/workgroup_${problem.width}`,
      bindings,
      uniforms: { ...attentionUniforms(problem, images, ROWS), unknown_zero: u32(0) },
      ranges,
      wgsl: /* wgsl */ `
${ownWgsl}
var<workgroup> first_stage: array<array<${element}, ${parts}>, ${staged}>;
var<workgroup> second_stage: array<array<${element}, ${parts}>, ${staged}>;
@compute @workgroup_size(${ROWS})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
let index = linear_workgroup(workgroup, workgroups);
if (index >= params.workgroups) { return; }
let at = own(index);
let wanted = at.tile * ${ROWS} + lane;
let row = min(wanted, params.tokens - 1);
let y_stride = params.heads * params.parts;
${spec.body(new Tokens(headVectors(problem), together, staged))}
}`,
      grid: attentionGrid(problem, images, ROWS, device),
      cost: attentionCost(problem, images, spec.products),
    }),
  );
}

/** WGSL of what an invocation does with the tokens that its row meets. */
class Tokens {
  constructor(
    private readonly head: HeadVectors,
    private readonly together: number,
    private readonly staged: number,
  ) {}

  /** One line for each of the tokens that are met together. */
  each(line: (j: number) => string): string {
    return lines(this.together, line);
  }

  /** The names `x`_0, `x`_1, ..., joined. */
  joined(x: string, by: string): string {
    return range(this.together)
      .map((j) => `${x}_${j}`)
      .join(by);
  }

  /**
   * A loop over all tokens, `first` and `second` being their vectors e in memory; `body` meets tokens `token`, `token` + 1, ...
   * of which those that are not there are to be masked.
   */
  loop(first: string, second: string, body: string): string {
    const { together, staged } = this;
    const { parts } = this.head;
    const rounds = Math.ceil((staged * parts) / ROWS);
    const isWhole = (staged * parts) % ROWS === 0;
    const slot = isWhole ? 'slot' : `min(slot, ${staged - 1}u)`;
    // Loops with literal bounds: others get a 64-bit counter against endless ones.
    return /* wgsl */ `
let tokens = params.tokens;
for (var round = 0u; round < 0xffffffu; round++) {
  let base = round * ${staged}u;
  if (base >= tokens) { break; }
  workgroupBarrier();
  for (var i = 0u; i < ${rounds}u; i++) {
    let e = (i * ${ROWS}u + lane) % ${parts}u;
    let slot = (i * ${ROWS}u + lane) / ${parts}u;
    ${isWhole ? '' : `if (slot >= ${staged}u) { break; }`}
    let staged_token = min(base + slot, tokens - 1u);
    first_stage[${slot}][e] = ${first};
    second_stage[${slot}][e] = ${second};
  }
  workgroupBarrier();
  for (var group = 0u; group < ${staged / together}u; group++) {
    let token = base + group * ${together}u;
    if (token >= tokens) { break; }
    let here = min(group * ${together}u, ${staged - together}u);
    let again = min(group * ${together}u + params.unknown_zero, ${staged - together}u);
    ${body}
  }
}`;
  }

  /** let `into`_j = own . token j of the stage */
  dots(into: string, own: string, stage: string): string {
    const { lanes, parts } = this.head;
    return this.each((j) => {
      const sums = lines(parts, (e) => {
        const vector = `${stage}[here + ${j}u][${e}]`;
        return e === 0 ? `var sum = ${own}0 * ${vector};` : `sum = fma(${own}${e}, ${vector}, sum);`;
      });
      const sum = lanes === 4 ? '(sum.x + sum.y) + (sum.z + sum.w)' : 'sum';
      return `var ${into}_${j} = 0.0;\n{\n${sums}\n${into}_${j} = ${sum};\n}`;
    });
  }

  /** Scores of what lies past the last token become ones that count for nothing. */
  mask(scores: string): string {
    return this.each((j) =>
      j === 0 ? '' : `${scores}_${j} = select(${MASKED}, ${scores}_${j}, token + ${j}u < tokens);`,
    );
  }

  /** own += sum of `factor`_j * token j of the stage */
  add(own: string, factor: string, stage: string): string {
    const { parts, element } = this.head;
    return this.each((j) =>
      lines(parts, (e) => `${own}${e} = fma(${element}(${factor}_${j}), ${stage}[again + ${j}u][${e}], ${own}${e});`),
    );
  }
}

const product = ({ lanes }: HeadVectors, a: string, b: string): string =>
  lanes === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`;

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
  return launches(problem, device, {
    ...PARTS.forward,
    body: (tokens) => /* wgsl */ `
${load(head, 'q', OWN.query, ' * params.scale')}
${zeros(head, 'o')}
var m = ${MASKED};
var l = 0.0;
${tokens.loop(
  STAGED.key,
  STAGED.value,
  /* wgsl */ `
${tokens.dots('s', 'q', 'first_stage')}
${tokens.mask('s')}
var largest = s_0;
${tokens.each((j) => (j === 0 ? '' : `largest = max(largest, s_${j});`))}
// Rare: the running max grows, and what was summed with the old one is rescaled.
if (largest > m + ${HEADROOM}.0) {
  let rescale = exp(m - largest);
  m = largest;
  l *= rescale;
  ${lines(head.parts, (e) => `o${e} *= rescale;`)}
}
${tokens.each((j) => `let p_${j} = exp(s_${j} - m);`)}
l += ${tokens.joined('p', ' + ')};
${tokens.add('o', 'p', 'second_stage')}`,
)}
let inverse = 1.0 / l;
${store(head, 'y[at.y + row * y_stride', 'o', ' * inverse')}
if (wanted < tokens) { stats[at.stats + row] = vec2f(m, inverse); }`,
  });
}

function queryGradientWorkgroup(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  const head = headVectors(problem);
  const { parts } = head;
  return launches(problem, device, {
    ...PARTS.query,
    body: (tokens) => /* wgsl */ `
${load(head, 'q', OWN.query, ' * params.scale')}
${load(head, 'dy_row', OWN.dy)}
${zeros(head, 'dq')}
let row_stats = stats[at.stats + row];
var delta_i = 0.0;
${lines(parts, (e) => `delta_i += ${product(head, `dy_row${e}`, `y[at.y + row * y_stride + ${e}]`)};`)}
${tokens.loop(
  STAGED.key,
  STAGED.value,
  /* wgsl */ `
${tokens.dots('s', 'q', 'first_stage')}
${tokens.mask('s')}
${tokens.dots('dp', 'dy_row', 'second_stage')}
${tokens.each((j) => `let ds_${j} = exp(s_${j} - row_stats.x) * row_stats.y * (dp_${j} - delta_i);`)}
${tokens.add('dq', 'ds', 'first_stage')}`,
)}
${store(head, 'dqkv[at.q + row * params.row_stride', 'dq', ' * params.scale')}
if (wanted < tokens) { delta[at.stats + row] = delta_i; }`,
  });
}

/** WGSL: the stats of the queries that are met. */
const queryStats = (tokens: Tokens): string =>
  tokens.each(
    (j) => `let query_${j} = at.stats + min(token + ${j}u, tokens - 1u); let stats_${j} = stats[query_${j}];`,
  );

function keyValueGradientWorkgroup(problem: AttentionProblem, device: DeviceProfile): Launch[] {
  const head = headVectors(problem);
  const values = launches(problem, device, {
    ...PARTS.value,
    body: (tokens) => /* wgsl */ `
${load(head, 'k', OWN.key, ' * params.scale')}
${zeros(head, 'dv')}
${tokens.loop(
  STAGED.query,
  STAGED.dy,
  /* wgsl */ `
${queryStats(tokens)}
${tokens.dots('s', 'k', 'first_stage')}
${tokens.mask('s')}
${tokens.each((j) => `let p_${j} = exp(s_${j} - stats_${j}.x) * stats_${j}.y;`)}
${tokens.add('dv', 'p', 'second_stage')}`,
)}
${store(head, 'dqkv[at.v + row * params.row_stride', 'dv')}`,
  });
  const keys = launches(problem, device, {
    ...PARTS.key,
    body: (tokens) => /* wgsl */ `
${load(head, 'k', OWN.key, ' * params.scale')}
${load(head, 'v', OWN.value)}
${zeros(head, 'dk')}
${tokens.loop(
  STAGED.query,
  STAGED.dy,
  /* wgsl */ `
${queryStats(tokens)}
${tokens.dots('s', 'k', 'first_stage')}
${tokens.mask('s')}
${tokens.dots('dp', 'v', 'second_stage')}
${tokens.each((j) => `let ds_${j} = exp(s_${j} - stats_${j}.x) * stats_${j}.y * (dp_${j} - delta[query_${j}]);`)}
${tokens.add('dk', 'ds', 'first_stage')}`,
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
