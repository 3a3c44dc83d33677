import { foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { f32, input, launch, output, splitRows, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { BLOCK, monoids, rowLanes, stageBytes } from './stage.ts';
import type { Access, Ends, Monoid, ReduceProblem, Stage } from './stage.ts';

/** One workgroup per result: it reduces one segment of a row of neighbouring elements. */
export const row: Access = {
  name: 'row',
  fits: (problem, device) => problem.inner === 1 && stageBytes(problem) <= device.maxBindingSize,
  use: ({ reduce }, device) => (device.cpu || reduce < 32 ? 'named' : 'default'),
  load: rowLanes,
  results: 1,
  lanes: rowLanes,
  launches: rowStage,
};

function rowStage(
  op: ReduceProblem['op'],
  stage: Stage,
  { from, to, f16 }: Ends,
  divisor: number,
  device: DeviceProfile,
): Launch[] {
  const monoid = monoids[op];
  const { outer, reduce: length, segment, segments } = stage;
  const lanes = rowLanes(device);
  const subgroup = device.subgroupSize > 0;
  const bytes = { [from]: length * (f16 ? 2 : 4), [to]: segments * 4 };
  const launches = splitRows(outer, bytes, device, `${op}.reduce`).map(({ rows, ranges }) =>
    launch({
      name: `${op}.reduce/${subgroup ? 'subgroup' : 'workgroup'}`,
      bindings: [input(from, monoid.scalar), output(to, monoid.scalar)],
      uniforms: {
        results: u32(rows * segments),
        length: u32(length),
        segment: u32(segment),
        segments: u32(segments),
        divisor: f32(divisor),
      },
      ranges,
      enables: subgroup ? ['subgroups'] : [],
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${monoid.functions}
${subgroup ? '' : `var<workgroup> shared_values: array<${monoid.scalar}, ${lanes}>;`}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let result = linear_workgroup(workgroup, workgroups);
  if (result >= params.results) { return; }
  let first = (result % params.segments) * params.segment;
  let count = min(params.segment, params.length - first);
  let at = result / params.segments * params.length + first;
  var total = ${monoid.scalar}(${monoid.identity});
  for (var block = lane; block < count; block += ${BLOCK * lanes}u) {
    var part = ${monoid.scalar}(${monoid.identity});
    let end = min(block + ${BLOCK * lanes}u, count);
    for (var r = block; r < end; r += ${lanes}u) {
      part = ${monoid.combine('part', monoid.load(`${from}[at + r]`, false))};
    }
    total = ${monoid.combine('total', 'part')};
  }
  ${subgroup ? `total = ${monoid.subgroup}(total);` : treeWgsl(monoid, lanes)}
  if (lane == 0u) { ${to}[result] = ${monoid.store('total', false)}; }
}`,
      grid: foldGrid(rows * segments, device),
      cost: { flops: rows * length, bytes: rows * (bytes[from] + bytes[to]) },
    }),
  );
  return inF16(launches, f16 ? [from] : undefined);
}

function treeWgsl(monoid: Monoid, lanes: number): string {
  return /* wgsl */ `
  shared_values[lane] = total;
  for (var width = ${lanes / 2}u; width > 0u; width >>= 1u) {
    workgroupBarrier();
    if (lane < width) { shared_values[lane] = ${monoid.combine('shared_values[lane]', 'shared_values[lane + width]')}; }
  }
  total = shared_values[0];`;
}
