import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, splitRows, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { orderWgsl } from '../lib/math.ts';
import type { ArgmaxProblem } from './problem.ts';

/* One invocation finds a result, or the invocations of a workgroup share it. */

const WORKGROUP = 64;

export const argmaxSerial = (problem: ArgmaxProblem, device: DeviceProfile) => launches(problem, device, false);

/** For neighbouring elements, at least one an invocation. */
export const argmaxWorkgroup = (problem: ArgmaxProblem, device: DeviceProfile) => launches(problem, device, true);

export const fitsWorkgroup = ({ reduce, inner }: ArgmaxProblem): boolean => inner === 1 && reduce >= WORKGROUP;

function launches({ outer, reduce, inner }: ArgmaxProblem, device: DeviceProfile, shared: boolean): Launch[] {
  return splitRows(outer, { x: reduce * inner * 4, y: inner * 4 }, device, 'argmax').map(({ rows, ranges }) => {
    const results = rows * inner;
    const groups = shared ? results : ceilDiv(results, WORKGROUP);
    return launch({
      name: `argmax/${shared ? 'workgroup' : 'serial'}`,
      bindings: [input('x', 'u32'), output('y', 'i32')],
      uniforms: { results: u32(results), reduce: u32(reduce), inner: u32(inner) },
      ranges,
      wgsl: shared ? sharedWgsl : serialWgsl,
      grid: foldGrid(groups, device),
      cost: { flops: rows * reduce * inner, bytes: 4 * (rows * reduce * inner + results) },
    });
  });
}

const head = /* wgsl */ `
${linearWorkgroupWgsl}
${orderWgsl}
`;
const entry = /* wgsl */ `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
`;

const serialWgsl = /* wgsl */ `${head}${entry}
  let result = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  if (result >= params.results) { return; }
  let at = result / params.inner * params.reduce * params.inner + result % params.inner;
  var best = order(x[at]);
  var best_index = 0u;
  for (var r = 1u; r < params.reduce; r++) {
    let candidate = order(x[at + r * params.inner]);
    if (candidate > best) { best = candidate; best_index = r; }
  }
  y[result] = i32(best_index);
}`;

const sharedWgsl = /* wgsl */ `${head}
var<workgroup> values: array<u32, ${WORKGROUP}>;
var<workgroup> indices: array<u32, ${WORKGROUP}>;
${entry}
  let result = linear_workgroup(workgroup, workgroups);
  if (result >= params.results) { return; }
  let at = result * params.reduce;
  // Every lane has at least one element, and keeps the first of its largest.
  var best = order(x[at + lane]);
  var best_index = lane;
  for (var r = lane + ${WORKGROUP}u; r < params.reduce; r += ${WORKGROUP}u) {
    let candidate = order(x[at + r]);
    if (candidate > best) { best = candidate; best_index = r; }
  }
  values[lane] = best;
  indices[lane] = best_index;
  for (var width = ${WORKGROUP / 2}u; width > 0u; width >>= 1u) {
    workgroupBarrier();
    if (lane < width) {
      let value = values[lane + width];
      let index = indices[lane + width];
      if (value > values[lane] || (value == values[lane] && index < indices[lane])) {
        values[lane] = value;
        indices[lane] = index;
      }
    }
  }
  if (lane == 0u) { y[result] = i32(indices[0]); }
}`;
