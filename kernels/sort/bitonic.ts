import { foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { orderWgsl } from '../lib/math.ts';
import { perInvocation } from '../lib/plain.ts';
import type { SortProblem } from './problem.ts';

const LANES = 256;
/** Pairs that shared memory holds on every device: 16 KiB. */
const MOST_SHARED = 2048;

/** Length of a line filled up. */
const filled = (length: number): number => Math.max(2, 2 ** Math.ceil(Math.log2(length)));

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

/** The launches: keys, the network, and the indices that it leaves. */
export function bitonic({ outer, length, inner, descending }: SortProblem, device: DeviceProfile): Launch[] {
  const width = filled(length);
  const block = Math.min(width, MOST_SHARED);
  const pairs = outer * inner * width;
  const sizes = { length: u32(length), inner: u32(inner), width: u32(width) };
  const launches = [
    perInvocation(
      {
        name: 'sort/keys',
        bindings: [input('x', 'u32'), output('pairs', 'vec2u')],
        workspace: { pairs: { elements: 2 * pairs } },
        uniforms: { ...sizes, descending: u32(descending ? 1 : 0) },
        functions: orderWgsl,
        count: pairs,
        body: /* wgsl */ `
  let line = i / params.width;
  let r = i % params.width;
  var key = 0xffffffffu;
  if (r < params.length) {
    let ascending = order(x[(line / params.inner * params.length + r) * params.inner + line % params.inner]);
    key = select(ascending, ~ascending, params.descending == 1u);
  }
  pairs[i] = vec2u(key, r);`,
        cost: { flops: pairs, bytes: 12 * pairs },
      },
      device,
    ),
    // A block that is no whole line is sorted up and down in turns, as the stages above it take it.
    shared(pairs, width, block, 2, block, device),
  ];
  for (let k = 2 * block; k <= width; k *= 2) {
    for (let j = k / 2; j >= block; j /= 2) {
      launches.push(
        perInvocation(
          {
            name: 'sort/global',
            bindings: [output('pairs', 'vec2u')],
            uniforms: { k: u32(k), j: u32(j), width: u32(width) },
            functions: afterWgsl,
            count: pairs / 2,
            body: /* wgsl */ `
  let low = (i / params.j) * 2u * params.j + i % params.j;
  let a = pairs[low];
  let b = pairs[low + params.j];
  if (after(a, b) == (((low % params.width) & params.k) == 0u)) { pairs[low] = b; pairs[low + params.j] = a; }`,
            cost: { flops: pairs / 2, bytes: 16 * pairs },
          },
          device,
        ),
      );
    }
    launches.push(shared(pairs, width, block, k, k, device));
  }
  const n = outer * length * inner;
  launches.push(
    perInvocation(
      {
        name: 'sort/indices',
        bindings: [input('pairs', 'vec2u'), output('y', 'i32')],
        uniforms: sizes,
        count: n,
        body: /* wgsl */ `
  let line = i / params.inner / params.length * params.inner + i % params.inner;
  y[i] = i32(pairs[line * params.width + i / params.inner % params.length].y);`,
        cost: { flops: 0, bytes: 12 * n },
      },
      device,
    ),
  );
  return launches;
}
