import { keptScale } from '../dropout/index.ts';
import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bytesOfElement, inF16 } from '../lib/f16-storage.ts';
import { f32, input, launch, output, splitRows, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { drawUniforms, drawWgsl } from '../lib/philox.ts';
import { f16Of, nameOf } from './problem.ts';
import type { DropPathProblem } from './problem.ts';

const WORKGROUP = 64;
/** Loads an invocation: one draw serves all of them. */
const LOADS = 16;

/** A workgroup stays within one sample. */
export function dropPathBySample(problem: DropPathProblem, device: DeviceProfile): Launch[] {
  const { samples, inner, rate, add } = problem;
  const name = nameOf(add);
  const vector = inner % 4 === 0;
  const type = vector ? 'vec4f' : 'f32';
  const loads = vector ? inner / 4 : inner;
  const parts = ceilDiv(loads, WORKGROUP * LOADS);
  const halves = f16Of(problem);
  const bytesOf = (binding: string): number => inner * bytesOfElement(halves, binding);
  const bytes = { x: bytesOf('x'), y: bytesOf('y'), ...(add ? { residual: bytesOf('residual') } : {}) };
  const launches = splitRows(samples, bytes, device, name).map(({ start, rows, ranges }) =>
    launch({
      name: `${name}/${vector ? 'vector' : 'word'}`,
      bindings: [input('x', type), ...(add ? [input('residual', type)] : []), output('y', type), input('step', 'u32')],
      uniforms: {
        groups: u32(rows * parts),
        parts: u32(parts),
        loads: u32(loads),
        first_sample: u32(start),
        ...drawUniforms(problem),
        rate: f32(rate),
        scale: f32(keptScale(rate)),
      },
      ranges,
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${drawWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let group = linear_workgroup(workgroup, workgroups);
  if (group >= params.groups) { return; }
  let row = group / params.parts;
  let sample = row + params.first_sample;
  let kept = uniform01(draw(sample / 4u)[sample % 4u]) >= params.rate;
  let first = group % params.parts * ${WORKGROUP * LOADS}u + lane;
  let end = min(first + ${WORKGROUP * LOADS}u, params.loads);
  for (var j = first; j < end; j += ${WORKGROUP}u) {
    let i = row * params.loads + j;
    // What is dropped is not read: it may be infinite.
    var value = ${type}();
    if (kept) { value = x[i] * params.scale; }
    y[i] = ${add ? 'residual[i] + value' : 'value'};
  }
}`,
      grid: foldGrid(rows * parts, device),
      cost: {
        flops: rows * inner * (add ? 2 : 1),
        bytes: rows * Object.values(bytes).reduce((sum, each) => sum + each, 0),
      },
    }),
  );
  return inF16(launches, halves);
}
