/**
 * The order of lines: y[o, k, i] = the r (i32) of the k-th element of x[o, :, i] in ascending or descending order, for x
 * [outer, length, inner] in f32. Stable: equal elements stay in the order of r. NaN counts as larger than everything.
 *
 * A bitonic sort (Batcher, 1968) of pairs of a key, whose unsigned order is that of the elements, and r: in shared memory as far as
 * blocks of 2048 pairs reach, in global memory beyond. Lines are filled up to a power of two with keys that come last.
 *
 * Cost: log2(length)^2 / 2 passes over the pairs, most of them in shared memory. `deit kernel argsort` shows the kernels.
 */
import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, require, u32 } from '../lib/kernel.ts';
import type { Kernel, Launch, Uniforms } from '../lib/kernel.ts';
import { orderWgsl } from '../lib/math.ts';

export interface SortProblem {
  outer: number;
  length: number;
  inner: number;
  descending: boolean;
}

const LANES = 256;
/** Pairs that shared memory holds on every device: 16 KiB. */
const MOST_SHARED = 2048;

/** Length of a line filled up. */
const filled = (length: number): number => Math.max(2, 2 ** Math.ceil(Math.log2(length)));

/** Elements (of 4 bytes) of the scratch binding `pairs`. */
export const sortScratch = ({ outer, length, inner }: SortProblem): number => 2 * outer * inner * filled(length);

/** One invocation an element, of `count`. */
function perIndex(
  name: string,
  spec: Pick<Launch, 'bindings'> & { uniforms: Uniforms; body: string },
  count: number,
  device: DeviceProfile,
): Launch {
  return launch({
    name,
    bindings: spec.bindings,
    uniforms: { count: u32(count), ...spec.uniforms },
    wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${orderWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let i = linear_workgroup(workgroup, workgroups) * 64u + lane;
  if (i >= params.count) { return; }
  ${spec.body}
}`,
    grid: foldGrid(ceilDiv(count, 64), device),
    cost: { flops: count, bytes: 12 * count },
  });
}

const afterWgsl = /* wgsl */ `
fn after(a: vec2u, b: vec2u) -> bool { return a.x > b.x || (a.x == b.x && a.y > b.y); }
`;

/** The steps of stages first to last of the network whose partners lie in one block. */
function shared(
  pairs: number,
  width: number,
  block: number,
  first: number,
  last: number,
  device: DeviceProfile,
): Launch {
  return launch({
    name: 'sort/shared',
    bindings: [output('pairs', 'vec2u')],
    uniforms: { blocks: u32(pairs / block), width: u32(width), first: u32(first), last: u32(last) },
    wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${afterWgsl}
var<workgroup> block: array<vec2u, ${block}>;
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let number = linear_workgroup(workgroup, workgroups);
  if (number >= params.blocks) { return; }
  let begin = number * ${block}u;
  for (var i = lane; i < ${block}u; i += ${LANES}u) { block[i] = pairs[begin + i]; }
  for (var k = params.first; k <= params.last; k <<= 1u) {
    for (var j = min(k, ${block}u) >> 1u; j > 0u; j >>= 1u) {
      workgroupBarrier();
      for (var t = lane; t < ${block / 2}u; t += ${LANES}u) {
        let low = (t / j) * 2u * j + t % j;
        let a = block[low];
        let b = block[low + j];
        if (after(a, b) == ((((begin + low) % params.width) & k) == 0u)) { block[low] = b; block[low + j] = a; }
      }
    }
  }
  workgroupBarrier();
  for (var i = lane; i < ${block}u; i += ${LANES}u) { pairs[begin + i] = block[i]; }
}`,
    grid: foldGrid(pairs / block, device),
    cost: { flops: pairs, bytes: 16 * pairs },
  });
}

/** Bindings x, y, and the scratch `pairs`. */
export const argsort: Kernel<SortProblem> = (problem, device) => {
  const { outer, length, inner, descending } = problem;
  require(outer * length * inner > 0, 'argsort', 'no empty dimension', problem);
  const width = filled(length);
  const block = Math.min(width, MOST_SHARED);
  const pairs = outer * inner * width;
  const sizes = { length: u32(length), inner: u32(inner), width: u32(width) };
  const launches = [
    perIndex(
      'sort/keys',
      {
        bindings: [input('x', 'u32'), output('pairs', 'vec2u')],
        uniforms: { ...sizes, descending: u32(descending ? 1 : 0) },
        body: /* wgsl */ `
  let line = i / params.width;
  let r = i % params.width;
  var key = 0xffffffffu;
  if (r < params.length) {
    let ascending = order(x[(line / params.inner * params.length + r) * params.inner + line % params.inner]);
    key = select(ascending, ~ascending, params.descending == 1u);
  }
  pairs[i] = vec2u(key, r);`,
      },
      pairs,
      device,
    ),
    // A block that is no whole line is sorted up and down in turns, as the stages above it take it.
    shared(pairs, width, block, 2, block, device),
  ];
  for (let k = 2 * block; k <= width; k *= 2) {
    for (let j = k / 2; j >= block; j /= 2) {
      launches.push(
        perIndex(
          'sort/global',
          {
            bindings: [output('pairs', 'vec2u')],
            uniforms: { k: u32(k), j: u32(j), width: u32(width) },
            body: /* wgsl */ `
  let low = (i / params.j) * 2u * params.j + i % params.j;
  let a = pairs[low];
  let b = pairs[low + params.j];
  let is_after = a.x > b.x || (a.x == b.x && a.y > b.y);
  if (is_after == (((low % params.width) & params.k) == 0u)) { pairs[low] = b; pairs[low + params.j] = a; }`,
          },
          pairs / 2,
          device,
        ),
      );
    }
    launches.push(shared(pairs, width, block, k, k, device));
  }
  launches.push(
    perIndex(
      'sort/indices',
      {
        bindings: [input('pairs', 'vec2u'), output('y', 'i32')],
        uniforms: sizes,
        body: /* wgsl */ `
  let line = i / params.inner / params.length * params.inner + i % params.inner;
  y[i] = i32(pairs[line * params.width + i / params.inner % params.length].y);`,
      },
      outer * length * inner,
      device,
    ),
  );
  return launches;
};
