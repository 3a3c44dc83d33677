import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../../lib/device.ts';
import type { DeviceProfile } from '../../lib/device.ts';
import { BLOCK_ELEMENTS, withoutPaddingWgsl } from '../../lib/flat-update.ts';
import { input, launch, output, require, splitRows, u32 } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import type { GradNormProblem } from './problem.ts';

const WORKGROUP = 64;
const STRIP = 64;
/** What one workgroup may sum at the end. */
const LAST = 8192;

/** Sums of the first and of the second stage. Every chunk of a split buffer may end in a strip that is not full; it has at least 2^16 elements. */
function partialsOf({ n }: GradNormProblem): { first: number; second: number } {
  const first = WORKGROUP * (ceilDiv(n, WORKGROUP * STRIP * 4) + ceilDiv(n, 2 ** 16));
  return { first, second: ceilDiv(first, STRIP) };
}

const nonFiniteWgsl = /* wgsl */ `
fn non_finite(value: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(value) & vec4u(0x7f800000u)) == vec4u(0x7f800000u);
}
`;

/**
 * Each invocation sums a strip of 64 vectors; strips of 64 such sums, where there are many, are summed again; one workgroup
 * sums the rest. Lanes of a vector are summed apart, so at most a few hundred terms meet in one accumulator: the error is a
 * few units in the last place.
 */
export function strips(problem: GradNormProblem, device: DeviceProfile): Launch[] {
  const { n } = problem;
  const partials = partialsOf(problem);
  const launches: Launch[] = [];
  let sums = 0;
  const chunks = splitRows(n / BLOCK_ELEMENTS, { gradients: BLOCK_ELEMENTS * 4, blocks: 4 }, device, 'grad_norm');
  for (const { rows, ranges } of chunks) {
    const vectors = (rows * BLOCK_ELEMENTS) / 4;
    const workgroups = ceilDiv(vectors, WORKGROUP * STRIP);
    launches.push(
      launch({
        name: 'grad_norm/elements',
        bindings: [input('gradients', 'vec4f'), input('blocks', 'u32'), output('partials', 'vec2f')],
        uniforms: { vectors: u32(vectors), workgroups: u32(workgroups), first: u32(sums) },
        ranges,
        workspace: { partials: { elements: 2 * partials.first } },
        wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${withoutPaddingWgsl}
${nonFiniteWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let w = linear_workgroup(workgroup, workgroups);
  if (w >= params.workgroups) { return; }
  var sum = vec4f(0);
  var count = vec4f(0);
  for (var v = 0u; v < ${STRIP}u; v++) {
    let i = (w * ${STRIP}u + v) * ${WORKGROUP}u + lane;
    if (i < params.vectors) {
      let g = without_padding(gradients[i], i, blocks[i / 16u]);
      let bad = non_finite(g);
      let finite = select(g, vec4f(0), bad);
      sum += finite * finite;
      count += select(vec4f(0), vec4f(1), bad);
    }
  }
  partials[params.first + w * ${WORKGROUP}u + lane] =
    vec2f((sum.x + sum.y) + (sum.z + sum.w), (count.x + count.y) + (count.z + count.w));
}`,
        grid: foldGrid(workgroups, device),
        cost: { flops: 2 * rows * BLOCK_ELEMENTS, bytes: rows * BLOCK_ELEMENTS * 4 },
      }),
    );
    sums += workgroups * WORKGROUP;
  }
  require(sums <= partials.first, 'grad_norm', 'chunks of at least 2^16 elements', device.maxBindingSize);
  if (sums > LAST) {
    launches.push(middle(sums, partials.second, device));
    sums = ceilDiv(sums, STRIP);
    launches.push(last(sums, 'partials2'));
  } else launches.push(last(sums, 'partials'));
  return launches;
}

function middle(count: number, results: number, device: DeviceProfile): Launch {
  const strips = ceilDiv(count, STRIP);
  return launch({
    name: 'grad_norm/partials',
    bindings: [input('partials', 'vec2f'), output('partials2', 'vec2f')],
    uniforms: { count: u32(count), strips: u32(strips) },
    workspace: { partials2: { elements: 2 * results } },
    wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let strip = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  if (strip >= params.strips) { return; }
  var sum = vec2f(0);
  for (var i = strip; i < params.count; i += params.strips) { sum += partials[i]; }
  partials2[strip] = sum;
}`,
    grid: foldGrid(ceilDiv(strips, WORKGROUP), device),
    cost: { flops: count, bytes: count * 8 },
  });
}

function last(count: number, from: 'partials' | 'partials2'): Launch {
  return launch({
    name: 'grad_norm/norm',
    bindings: [input(from, 'vec2f'), output('norm')],
    uniforms: { count: u32(count) },
    wgsl: /* wgsl */ `
var<workgroup> shared_sums: array<vec2f, ${WORKGROUP}>;
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec2f(0);
  for (var i = lane; i < params.count; i += ${WORKGROUP}u) { sum += ${from}[i]; }
  shared_sums[lane] = sum;
  for (var step = ${WORKGROUP / 2}u; step > 0u; step >>= 1u) {
    workgroupBarrier();
    if (lane < step) { shared_sums[lane] += shared_sums[lane + step]; }
  }
  if (lane == 0u) {
    let total = shared_sums[0];
    let overflow = (bitcast<u32>(total.x) & 0x7f800000u) == 0x7f800000u;
    norm[0] = select(sqrt(total.x), 3.402823466e38, overflow);
    norm[1] = total.y + select(0.0, 1.0, overflow);
  }
}`,
    grid: [1, 1, 1],
    cost: { flops: count, bytes: count * 8 },
  });
}
