import type { DeviceProfile } from '../lib/device.ts';
import { ceilDiv, hasSubgroups } from '../lib/device.ts';
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
import type { AttentionPart, AttentionProblem, PartSpec } from './problem.ts';

/*
 * For software adapters (see ../matmul/subgroup-rows.ts for what is expensive there). A lane owns a few rows (queries, or keys for
 * their gradients) whole, so that no result ever crosses lanes; what the rows meet, one token after the other, is
 * loaded by all lanes together and handed round with subgroupBroadcast. A lane's rows live in private arrays: filled and
 * emptied by loops over a dynamic index, they stay in memory and out of the compiler's registers (a tenth of the
 * compile time), while the unrolled arithmetic reads them like registers. Each component of the vectors that fill them has
 * an array of its own: arrays begin as zeros, which takes compile time with the square of their length.
 */

/** Unrolled elements beyond which the inner loop no longer fits the instruction cache. */
const MAX_UNROLLED: Readonly<Record<AttentionPart, number>> = { forward: 320, query: 320, keyValue: 192 };
/** What loading and handing round a token costs, in rows' worth of arithmetic. */
const TOKEN_COST = 2.7;
const MAX_ROWS = 8;

/** The rows a lane of least work, including rows past the end, within what can be unrolled. */
function bestRows({ tokens, width }: AttentionProblem, lanes: number, most: number): number {
  let best = 1;
  let least = Infinity;
  for (let rows = 1; rows <= MAX_ROWS && (rows === 1 || rows * width <= most); rows++) {
    const work = ceilDiv(tokens, lanes * rows) * (rows + TOKEN_COST);
    if (work < least) [best, least] = [rows, work];
  }
  return best;
}

/** The variant of a part with the best number of rows a lane, and those with other numbers of them. */
export function subgroupVariants(part: AttentionPart): Variant<AttentionProblem>[] {
  const best = (problem: AttentionProblem, { subgroupSize }: DeviceProfile): number =>
    bestRows(problem, subgroupSize, MAX_UNROLLED[part]);
  const launchesOf = { forward: forwardSubgroup, query: queryGradientSubgroup, keyValue: keyValueGradientSubgroup }[
    part
  ];
  return [
    {
      name: 'subgroup',
      fits: (_problem, device) => hasSubgroups(device),
      use: (_problem, device) => (device.cpu ? 'default' : 'tuned'),
      launches: (problem, device) => launchesOf(problem, device, best(problem, device)),
    },
    ...range(MAX_ROWS).map((i): Variant<AttentionProblem> => {
      const rows = i + 1;
      return {
        name: `subgroup_${rows}`,
        fits: (problem, device) => hasSubgroups(device) && rows * problem.width <= 1.25 * MAX_UNROLLED[part],
        use: (problem, device) => (rows === best(problem, device) ? 'named' : 'tuned'),
        launches: (problem, device) => launchesOf(problem, device, rows),
      };
    }),
  ];
}

/** The WGSL of one kernel's parts, for heads of this width and rows a lane. */
class Unrolled {
  readonly parts: number;
  readonly vector: boolean;
  private readonly components: readonly number[];
  /** Loads of one token's part of a head by the lanes together. */
  private readonly loads: number;

  constructor(
    readonly problem: AttentionProblem,
    readonly lanes: number,
    readonly rows: number,
  ) {
    const vector = headVectors(problem);
    this.parts = vector.parts;
    this.vector = vector.lanes === 4;
    this.loads = ceilDiv(this.parts, lanes);
    this.components = range(vector.lanes);
  }

  /** Before the loop: the vector that this lane loads, past the end the last one. */
  get lanesParts(): string {
    return lines(this.loads, (g) => `let part${g} = min(${g * this.lanes}u + lane, ${this.parts - 1}u);`);
  }

  /** Loads of one token from `tensor`, whose vectors of the head begin at `base`. */
  load(name: string, tensor: string, base: string): string {
    return lines(this.loads, (g) => `let ${name}${g} = ${tensor}[${base} + part${g}];`);
  }

  /** Element e of the token that `load` brought, on all lanes. */
  broadcast(name: string, e: number): string {
    const part = this.vector ? e >> 2 : e;
    const value = `${name}${Math.floor(part / this.lanes)}${this.vector ? `[${e & 3}]` : ''}`;
    return `subgroupBroadcast(${value}, ${part % this.lanes}u)`;
  }

  /** Declares `into`_r = sum over e of array[r][e] * token[e], for every own row r. */
  dots(into: string, array: string, name: string): string {
    const { width } = this.problem;
    return `${range(this.rows)
      .map((r) => `var ${into}_${r} = 0.0;`)
      .join(' ')}
${lines(width, (e) => {
  const terms = range(this.rows).map((r) => `${into}_${r} += ${this.at(array, r, e)} * ${name}_${e};`);
  return `let ${name}_${e} = ${this.broadcast(name, e)}; ${terms.join(' ')}`;
})}`;
  }

  /** array[r][e] += factor_r * token[e] for every own row; `name`_e were declared by `dots` unless `fresh`. */
  add(array: string, factor: string, name: string, fresh: boolean): string {
    const { width } = this.problem;
    return lines(width, (e) => {
      const terms = range(this.rows).map((r) => `${this.at(array, r, e)} += ${factor}_${r} * ${name}_${e};`);
      return `${fresh ? `let ${name}_${e} = ${this.broadcast(name, e)}; ` : ''}${terms.join(' ')}`;
    });
  }

  /** Declares arrays of one value for every element of every own row. */
  array(...names: string[]): string {
    const declare = (name: string): string => `var ${name}: array<f32, ${this.rows * this.parts}>;`;
    return names.map((name) => this.components.map((j) => declare(`${name}${j}`)).join(' ')).join(' ');
  }

  /** Element e of row r. */
  private at(array: string, r: number, e: number): string {
    const [part, j] = this.vector ? [e >> 2, e & 3] : [e, 0];
    return `${array}${j}[${r * this.parts + part}]`;
  }

  /** Multiplies the vector i of `array` by `factor`. */
  scale(array: string, factor: string): string {
    return this.components.map((j) => `${array}${j}[i] *= ${factor};`).join(' ');
  }

  each(line: (r: number) => string): string {
    return lines(this.rows, line);
  }

  /** A loop over the own rows and their vectors, not unrolled: `body` knows r, row, e (vector) and at (element). */
  overRows(before: string, body: string, guard = false): string {
    return /* wgsl */ `
for (var r = 0u; r < params.rows; r++) {
  let wanted = (at.tile * params.rows + r) * ${this.lanes} + lane;
  ${guard ? 'if (wanted >= params.tokens) { break; }' : ''}
  let row = min(wanted, params.tokens - 1);
  ${before}
  for (var e = 0u; e < params.parts; e++) {
    let i = r * ${this.parts} + e;
    ${body}
  }
}`;
  }

  /** Spreads the vector `x` over vector i of `array`. */
  fill(array: string, x: string): string {
    return this.components.map((j) => `${array}${j}[i] = ${x}${this.vector ? `[${j}]` : ''};`).join(' ');
  }

  gather(array: string): string {
    const values = this.components.map((j) => `${array}${j}[i]`);
    return this.vector ? `vec4f(${values.join(', ')})` : values[0];
  }
}

/** How the elements of a vector of a head are written. */
const componentsOf = (problem: AttentionProblem): string[] =>
  headVectors(problem).lanes === 4 ? ['[0]', '[1]', '[2]', '[3]'] : [''];

interface Spec extends PartSpec {
  body(code: Unrolled): string;
}

function launches(problem: AttentionProblem, device: DeviceProfile, rows: number, spec: Spec): Launch[] {
  const lanes = device.subgroupSize;
  const bindings = spec.bindings(headVectors(problem).element);
  const code = new Unrolled(problem, lanes, rows);
  const names = bindings.map(({ name }) => name);
  return imageChunks(problem, names, device).map(({ rows: images, ranges }) =>
    launch({
      name: `attention.${spec.name}/subgroup_${problem.width}x${rows}`,
      enables: ['subgroups'],
      bindings,
      // The loops that must not be unrolled take their bounds from here.
      uniforms: { ...attentionUniforms(problem, images, lanes * rows), rows: u32(rows) },
      ranges,
      wgsl: /* wgsl */ `
${ownWgsl}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
let index = linear_workgroup(workgroup, workgroups);
if (index >= params.workgroups) { return; }
let at = own(index);
${code.lanesParts}
${spec.body(code)}
}`,
      grid: attentionGrid(problem, images, lanes * rows, device),
      cost: attentionCost(problem, images, spec.products),
    }),
  );
}

function forwardSubgroup(problem: AttentionProblem, device: DeviceProfile, rows: number): Launch[] {
  return launches(problem, device, rows, {
    ...PARTS.forward,
    body: (code) => /* wgsl */ `
${code.array('q', 'o')}
var rescale: array<f32, ${code.rows}>;
${code.overRows('', `let x = qkv[at.q + row * params.row_stride + e] * params.scale; ${code.fill('q', 'x')}`)}
${code.each((r) => `var m_${r} = -1e38; var l_${r} = 0.0;`)}
for (var token = 0u; token < params.tokens; token++) {
${code.load('key', 'qkv', 'at.k + token * params.row_stride')}
${code.load('value', 'qkv', 'at.v + token * params.row_stride')}
${code.dots('s', 'q', 'key')}
// Rare: the running max of a row grows, and what was summed with the old one is rescaled.
if (subgroupAny(${range(code.rows)
      .map((r) => `s_${r} > m_${r} + ${HEADROOM}.0`)
      .join(' || ')})) {
${code.each((r) => `let m${r} = max(m_${r}, s_${r}); rescale[${r}] = exp(m_${r} - m${r}); m_${r} = m${r}; l_${r} *= rescale[${r}];`)}
  for (var r = 0u; r < params.rows; r++) {
    for (var e = 0u; e < params.parts; e++) { let i = r * ${code.parts} + e; ${code.scale('o', 'rescale[r]')} }
  }
}
${code.each((r) => `let p_${r} = exp(s_${r} - m_${r}); l_${r} += p_${r};`)}
${code.add('o', 'p', 'value', true)}
}
${code.each((r) => `rescale[${r}] = 1.0 / l_${r};`)}
var running_max: array<f32, ${code.rows}>;
${code.each((r) => `running_max[${r}] = m_${r};`)}
${code.overRows(
  'stats[at.stats + row] = vec2f(running_max[r], rescale[r]);',
  `y[at.y + row * params.heads * params.parts + e] = ${code.gather('o')} * rescale[r];`,
  true,
)}`,
  });
}

function queryGradientSubgroup(problem: AttentionProblem, device: DeviceProfile, rows: number): Launch[] {
  // In the order of dp below: where one token has all the attention, dp - delta is 0, and with it the gradient of scores.
  const sums = componentsOf(problem)
    .map((c) => `sum += dy_here${c} * y_here${c};`)
    .join(' ');
  return launches(problem, device, rows, {
    ...PARTS.query,
    body: (code) => /* wgsl */ `
${code.array('q', 'dy_row', 'dq')}
var row_stats: array<vec2f, ${code.rows}>;
var deltas: array<f32, ${code.rows}>;
${code.overRows(
  'row_stats[r] = stats[at.stats + row]; var sum = 0.0;',
  `let x = qkv[at.q + row * params.row_stride + e] * params.scale;
let place = at.y + row * params.heads * params.parts + e;
let dy_here = dy[place];
let y_here = y[place];
${sums}
deltas[r] = sum;
${code.fill('q', 'x')}
${code.fill('dy_row', 'dy_here')}`,
)}
${code.each((r) => `let m_${r} = row_stats[${r}].x; let inverse_${r} = row_stats[${r}].y; let delta_${r} = deltas[${r}];`)}
for (var token = 0u; token < params.tokens; token++) {
${code.load('key', 'qkv', 'at.k + token * params.row_stride')}
${code.load('value', 'qkv', 'at.v + token * params.row_stride')}
${code.dots('s', 'q', 'key')}
${code.dots('dp', 'dy_row', 'value')}
${code.each((r) => `let ds_${r} = exp(s_${r} - m_${r}) * inverse_${r} * (dp_${r} - delta_${r});`)}
${code.add('dq', 'ds', 'key', false)}
}
${code.overRows(
  'delta[at.stats + row] = deltas[r];',
  `dqkv[at.q + row * params.row_stride + e] = ${code.gather('dq')} * params.scale;`,
  true,
)}`,
  });
}

function keyValueGradientSubgroup(problem: AttentionProblem, device: DeviceProfile, rows: number): Launch[] {
  return launches(problem, device, rows, {
    ...PARTS.keyValue,
    body: (code) => /* wgsl */ `
${code.array('k', 'v', 'dk', 'dv')}
${code.overRows(
  '',
  `let x = qkv[at.k + row * params.row_stride + e] * params.scale;
let z = qkv[at.v + row * params.row_stride + e];
${code.fill('k', 'x')}
${code.fill('v', 'z')}`,
)}
for (var first = 0u; first < params.tokens; first += ${code.lanes}) {
// Every lane holds the numbers of one query.
let own_query = min(first + lane, params.tokens - 1);
let own_stats = stats[at.stats + own_query];
let own_delta = delta[at.stats + own_query];
for (var token = first; token < min(first + ${code.lanes}, params.tokens); token++) {
let m = subgroupShuffle(own_stats.x, token - first);
let inverse = subgroupShuffle(own_stats.y, token - first);
let delta_i = subgroupShuffle(own_delta, token - first);
${code.load('query', 'qkv', 'at.q + token * params.row_stride')}
${code.load('dy_token', 'dy', 'at.y + token * params.heads * params.parts')}
${code.dots('s', 'k', 'query')}
${code.dots('dp', 'v', 'dy_token')}
${code.each((r) => `let p_${r} = exp(s_${r} - m) * inverse; let ds_${r} = p_${r} * (dp_${r} - delta_i);`)}
${code.add('dk', 'ds', 'query', false)}
${code.add('dv', 'p', 'dy_token', false)}
}
}
${code.overRows(
  '',
  `dqkv[at.k + row * params.row_stride + e] = ${code.gather('dk')} * params.scale;
dqkv[at.v + row * params.row_stride + e] = ${code.gather('dv')};`,
  true,
)}`,
  });
}
