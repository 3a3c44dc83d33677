import { hasAnySubgroups, hasSubgroups } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { launch, u32 } from '../lib/kernel.ts';
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
import type { AttentionPart, AttentionProblem, PartSpec } from './problem.ts';
import { MASKED, PAIR, RegisterRows, ROWS } from './register-rows.ts';
import type { Shared } from './register-rows.ts';

/*
 * For GPUs, and for devices without subgroups of a fixed size. Rows (queries, or keys for their gradients) are in registers,
 * as many as the workgroup has invocations; the workgroup loads the tokens that the rows meet into workgroup memory, a few at
 * a time, where all invocations read the same address at once. The gradients of keys and of values are two kernels, so
 * that an invocation's rows fit its registers.
 *
 * An invocation owns one row, or (variant `workgroup_pairs`) half of the vectors of two rows, which it shares with another
 * lane of its subgroup: then what it reads from workgroup memory serves two rows, and the halves of a sum are added by a
 * shuffle.
 *
 * Tokens are met a few at a time, so that their sums do not wait for each other. What is read from workgroup memory twice is
 * read twice: compilers would rather keep it, and spill the rows, so that they are not told that it is the same
 * (`params.unknown_zero`). `npm run bench -- --isa attention` shows what comes of it.
 */

/** Bytes of workgroup memory for one operand's tokens: with two, half of what every device has. */
const STAGE_BYTES = 4096;

interface Spec extends PartSpec {
  body: (own: RegisterRows) => string;
}

/** Tokens that are met together, if so many are staged. */
const TOGETHER: Readonly<Record<string, number>> = {
  forward: 8,
  query_gradient: 2,
  value_gradient: 4,
  key_gradient: 2,
};
/** Tokens that are met together, and those that are staged: a multiple of these. */
function tokensOf(
  { width }: AttentionProblem,
  { name }: Spec,
  { cpu }: DeviceProfile,
): { together: number; staged: number } {
  const most = Math.max(1, Math.min(64, Math.floor(STAGE_BYTES / 4 / width)));
  // Compilers for processors take minutes for several tokens of wide heads, and long for many.
  const enough = cpu ? (width > 32 ? 1 : 2) : TOGETHER[name];
  const together = Math.min(enough, most);
  return { together, staged: most - (most % together) };
}

function launches(problem: AttentionProblem, device: DeviceProfile, spec: Spec, shared: Shared): Launch[] {
  const { element, parts } = headVectors(problem);
  const { together, staged } = tokensOf(problem, spec, device);
  const bindings = spec.bindings(element);
  return imageChunks(
    problem,
    bindings.map(({ name }) => name),
    device,
  ).map(({ rows: images, ranges }) =>
    launch({
      name: `attention.${spec.name}/workgroup_${shared === 2 ? 'pairs_' : ''}${problem.width}`,
      enables: shared === 2 ? ['subgroups'] : [],
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
let y_stride = params.heads * params.parts;
${shared === 2 ? PAIR : ''}
${lines(shared, (r) => `let wanted_${r} = at.tile * ${ROWS} + ${shared === 2 ? `place_${r}` : 'lane'};\nlet row_${r} = min(wanted_${r}, params.tokens - 1);`)}
${spec.body(new RegisterRows(headVectors(problem), shared, together, staged))}
}`,
      grid: attentionGrid(problem, images, ROWS, device),
      cost: attentionCost(problem, images, spec.products),
    }),
  );
}

const STAGED = {
  key: 'qkv[at.k + staged_token * params.row_stride + e]',
  value: 'qkv[at.v + staged_token * params.row_stride + e]',
  query: 'qkv[at.q + staged_token * params.row_stride + e]',
  dy: 'dy[at.y + staged_token * y_stride + e]',
};
const OWN = {
  query: (r: number) => `qkv[at.q + row_${r} * params.row_stride`,
  key: (r: number) => `qkv[at.k + row_${r} * params.row_stride`,
  value: (r: number) => `qkv[at.v + row_${r} * params.row_stride`,
  y: (r: number) => `y[at.y + row_${r} * y_stride`,
  dy: (r: number) => `dy[at.y + row_${r} * y_stride`,
};
/** The gradient of what OWN has in qkv. */
const gradient = (own: (r: number) => string) => (r: number) => `d${own(r)}`;

type Part = (problem: AttentionProblem, device: DeviceProfile, shared: Shared) => Launch[];

const forward: Part = (problem, device, shared) =>
  launches(
    problem,
    device,
    {
      ...PARTS.forward,
      body: (own) => /* wgsl */ `
${own.load('q', OWN.query, ' * params.scale')}
${own.zeros('o')}
${own.rows((r) => `var m_${r} = ${MASKED}; var l_${r} = 0.0;`)}
${own.loop(
  STAGED.key,
  STAGED.value,
  /* wgsl */ `
${own.dots('s', 'q', 'first_stage')}
${own.mask('s')}
${own.rows(
  (r) => /* wgsl */ `
var largest_${r} = s_${r}_0;
${own.tokens((j) => (j === 0 ? '' : `largest_${r} = max(largest_${r}, s_${r}_${j});`))}
// Rare: the running max grows, and what was summed with the old one is rescaled.
if (largest_${r} > m_${r} + ${HEADROOM}.0) {
  let rescale = exp(m_${r} - largest_${r});
  m_${r} = largest_${r};
  l_${r} *= rescale;
  ${own.vectors((i) => `o_${r}_${i} *= rescale;`)}
}`,
)}
${own.each((id, r) => `let p_${id} = exp(s_${id} - m_${r});`)}
${own.rows((r) => `l_${r} += ${own.joined('p', r, ' + ')};`)}
${own.add('o', 'p', 'second_stage')}`,
)}
${own.rows((r) => `let inverse_${r} = 1.0 / l_${r};`)}
${own.store(OWN.y, 'o', (r) => ` * inverse_${r}`)}
${own.rows((r) => `if (wanted_${r} < tokens) { stats[at.stats + row_${r}] = vec2f(m_${r}, inverse_${r}); }`)}`,
    },
    shared,
  );

const queryGradient: Part = (problem, device, shared) =>
  launches(
    problem,
    device,
    {
      ...PARTS.query,
      body: (own) => /* wgsl */ `
${own.load('q', OWN.query, ' * params.scale')}
${own.load('dy_row', OWN.dy)}
${own.zeros('dq')}
${own.rows((r) => `let stats_${r} = stats[at.stats + row_${r}];`)}
${own.rowDots('delta', 'dy_row', OWN.y)}
${own.loop(
  STAGED.key,
  STAGED.value,
  /* wgsl */ `
${own.dots('s', 'q', 'first_stage')}
${own.mask('s')}
${own.dots('dp', 'dy_row', 'second_stage')}
${own.each((id, r) => `let ds_${id} = exp(s_${id} - stats_${r}.x) * stats_${r}.y * (dp_${id} - delta_${r});`)}
${own.add('dq', 'ds', 'first_stage')}`,
)}
${own.store(gradient(OWN.query), 'dq', () => ' * params.scale')}
${own.rows((r) => `if (wanted_${r} < tokens) { delta[at.stats + row_${r}] = delta_${r}; }`)}`,
    },
    shared,
  );

/** WGSL: the stats of the queries that are met. */
const queryStats = (own: RegisterRows): string =>
  own.tokens((j) => `let query_${j} = at.stats + min(token + ${j}u, tokens - 1u); let stats_${j} = stats[query_${j}];`);

const valueGradient: Part = (problem, device, shared) =>
  launches(
    problem,
    device,
    {
      ...PARTS.value,
      body: (own) => /* wgsl */ `
${own.load('k', OWN.key, ' * params.scale')}
${own.zeros('dv')}
${own.loop(
  STAGED.query,
  STAGED.dy,
  /* wgsl */ `
${queryStats(own)}
${own.dots('s', 'k', 'first_stage')}
${own.mask('s')}
${own.each((id, _r, j) => `let p_${id} = exp(s_${id} - stats_${j}.x) * stats_${j}.y;`)}
${own.add('dv', 'p', 'second_stage')}`,
)}
${own.store(gradient(OWN.value), 'dv')}`,
    },
    shared,
  );

const keyGradient: Part = (problem, device, shared) =>
  launches(
    problem,
    device,
    {
      ...PARTS.key,
      body: (own) => /* wgsl */ `
${own.load('k', OWN.key, ' * params.scale')}
${own.load('v', OWN.value)}
${own.zeros('dk')}
${own.loop(
  STAGED.query,
  STAGED.dy,
  /* wgsl */ `
${queryStats(own)}
${own.dots('s', 'k', 'first_stage')}
${own.mask('s')}
${own.dots('dp', 'v', 'second_stage')}
${own.tokens((j) => `let delta_${j} = delta[query_${j}];`)}
${own.each((id, _r, j) => `let ds_${id} = exp(s_${id} - stats_${j}.x) * stats_${j}.y * (dp_${id} - delta_${j});`)}
${own.add('dk', 'ds', 'first_stage')}`,
)}
${own.store(gradient(OWN.key), 'dk', () => ' * params.scale')}`,
    },
    shared,
  );

const PARTS_OF: Readonly<Record<AttentionPart, readonly Part[]>> = {
  forward: [forward],
  query: [queryGradient],
  keyValue: [valueGradient, keyGradient],
};

const variant = (part: AttentionPart, name: string, shared: Shared, fits: Variant<AttentionProblem>['fits']) => ({
  name,
  fits,
  // On a processor with subgroups, barriers between lanes are hopeless, and slow to compile.
  use: (_problem: AttentionProblem, device: DeviceProfile) =>
    device.cpu && hasSubgroups(device) ? ('named' as const) : ('default' as const),
  launches: (problem: AttentionProblem, device: DeviceProfile) =>
    PARTS_OF[part].flatMap((one) => one(problem, device, shared)),
});

/** Rows in pairs where that can be, and else by themselves. */
export const workgroupVariants = (part: AttentionPart): Variant<AttentionProblem>[] => [
  variant(
    part,
    'workgroup_pairs',
    2,
    (problem, device) => hasAnySubgroups(device) && headVectors(problem).parts % 2 === 0,
  ),
  variant(part, 'workgroup', 1, () => true),
];
