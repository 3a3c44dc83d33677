import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import type { CumsumProblem } from './problem.ts';

const LANES = 64;

/**
 * A workgroup takes a line (o, i): each invocation sums a run of neighbouring r, the sums of runs are added up in shared
 * memory (Hillis and Steele, 1986), and each invocation goes over its run once more.
 */
export function scan({ outer, length, inner, reversed }: CumsumProblem, device: DeviceProfile): Launch[] {
  const n = outer * length * inner;
  return [
    launch({
      name: 'cumsum',
      bindings: [input('x'), output('y')],
      uniforms: {
        lines: u32(outer * inner),
        length: u32(length),
        inner: u32(inner),
        run: u32(ceilDiv(length, LANES)),
        reversed: u32(reversed ? 1 : 0),
      },
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
var<workgroup> totals: array<f32, ${LANES}>;

/** Where number r of the line is, counted from the end that the sums begin at. */
fn place(line: u32, r: u32) -> u32 {
  let index = select(r, params.length - 1u - r, params.reversed == 1u);
  return (line / params.inner * params.length + index) * params.inner + line % params.inner;
}

@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let line = linear_workgroup(workgroup, workgroups);
  if (line >= params.lines) { return; }
  let first = min(lane * params.run, params.length);
  let end = min(first + params.run, params.length);
  var total = 0.0;
  for (var r = first; r < end; r++) { total += x[place(line, r)]; }
  totals[lane] = total;
  for (var reach = 1u; reach < ${LANES}u; reach <<= 1u) {
    workgroupBarrier();
    var sum = totals[lane];
    if (lane >= reach) { sum += totals[lane - reach]; }
    workgroupBarrier();
    totals[lane] = sum;
  }
  workgroupBarrier();
  var sum = 0.0;
  if (lane > 0u) { sum = totals[lane - 1u]; }
  for (var r = first; r < end; r++) {
    sum += x[place(line, r)];
    y[place(line, r)] = sum;
  }
}`,
      grid: foldGrid(outer * inner, device),
      cost: { flops: n, bytes: 8 * n },
    }),
  ];
}
