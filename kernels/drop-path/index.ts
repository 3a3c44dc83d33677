/**
 * Stochastic depth (Huang et al., 2016) over x [samples, inner]: dropout with one word a sample (lib/philox.ts), so that
 * samples are kept or dropped whole.
 *
 *   dropPath      y = x / (1 - rate) where word number (sample), as a uniform number, is at least rate, else 0
 *   dropPathAdd   y = residual + dropPath(x)
 *
 * Nothing is kept for the backward pass: dx is dropPath of dy, the gradient of the residual is dy.
 */
import { keptScale } from '../dropout/index.ts';
import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import { bytesOfElement, inHalf } from '../lib/f16-storage.ts';
import { f32, input, launch, output, require, splitRows, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { drawUniforms, drawWgsl } from '../lib/philox.ts';
import type { Draw } from '../lib/philox.ts';

export interface DropPathProblem extends Draw {
  samples: number;
  /** Elements a sample. */
  inner: number;
  rate: number;
  /** Whether a residual is added. */
  add: boolean;
  /** The branch, which is x if a residual is added and else y, is f16 in memory. */
  half?: boolean;
}

const WORKGROUP = 64;
/** Loads an invocation: one draw serves all of them. */
const LOADS = 16;

/** Bindings x, y, step, and residual if `add`. A workgroup stays within one sample. */
export const dropPath: Kernel<DropPathProblem> = ({ samples, inner, rate, add, half, ...draw }, device) => {
  const name = add ? 'dropPathAdd' : 'dropPath';
  require(samples > 0 && inner > 0 && rate >= 0 && rate <= 1, name, 'elements, and a rate from 0 to 1', {
    samples,
    inner,
    rate,
  });
  const vector = inner % 4 === 0;
  const type = vector ? 'vec4f' : 'f32';
  const loads = vector ? inner / 4 : inner;
  const parts = ceilDiv(loads, WORKGROUP * LOADS);
  const halves = half ? [add ? 'x' : 'y'] : [];
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
        ...drawUniforms(draw),
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
  return inHalf(launches, halves);
};
