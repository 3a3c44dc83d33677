/**
 * Random kernels. Every draw is a word of Philox under the key (seed, purpose) and the counter (block, step, stream, 0),
 * where word number w of a stream is word w % 4 of block w / 4: the sequence that `PhiloxStream` reads on the host. The
 * step comes from the tensor `step` (u32 [1]), so that a recorded step draws afresh when it is replayed.
 *
 *   dropout         y = x / (1 - rate) where word number (element) as a uniform number is at least rate, else 0
 *   dropPath        the same with one word a sample, x [samples, inner] (stochastic depth, Huang et al., 2016)
 *   dropPathAdd     y = residual + dropPath(x)
 *   randomUniform   y = low + (high - low) u, u from word number (element)
 *   randomNormal    y = mean + std z, z from words 2 e and 2 e + 1 of element e by Box and Muller
 *
 * Nothing is kept for the backward pass: the gradients of the first two are the same kernels on dy.
 */
import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import { elementwise } from '../lib/elementwise.ts';
import { bytesOfElement, inHalf } from '../lib/f16-storage.ts';
import { f32, input, launch, output, require, splitRows, u32 } from '../lib/kernel.ts';
import type { Kernel, Uniforms } from '../lib/kernel.ts';
import { logWgsl } from '../lib/math.ts';
import { philoxWgsl } from '../lib/philox.ts';

/** Which stream of draws. */
export interface Draw {
  seed: number;
  purpose: number;
  stream: number;
}

const drawUniforms = ({ seed, purpose, stream }: Draw): Uniforms => ({
  seed: u32(seed >>> 0),
  purpose: u32(purpose),
  stream: u32(stream),
});

const drawWgsl = /* wgsl */ `
${philoxWgsl}
fn draw(block: u32) -> vec4u {
  return philox(vec4u(block, step[0], params.stream, 0u), vec2u(params.seed, params.purpose));
}
`;

/** What a kept value is multiplied by; nothing is kept at rate 1. */
const keptScale = (rate: number): number => (rate < 1 ? 1 / (1 - rate) : 0);

export interface DropoutProblem extends Draw {
  n: number;
  rate: number;
}

/** Bindings x, y, step. */
export const dropout: Kernel<DropoutProblem> = ({ n, rate, ...draw }, device) => {
  require(n > 0 && rate >= 0 && rate <= 1, 'dropout', 'elements, and a rate from 0 to 1', { n, rate });
  return elementwise(
    {
      name: 'dropout',
      n,
      bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
      shared: [input('step', 'u32')],
      uniforms: { ...drawUniforms(draw), rate: f32(rate), scale: f32(keptScale(rate)) },
      functions: drawWgsl,
      body: `let words = draw(i + params.first_vector);
      let u = vec4f(uniform01(words.x), uniform01(words.y), uniform01(words.z), uniform01(words.w));
      y[i] = select(vec4f(0.0), x[i] * params.scale, u >= vec4f(params.rate));`,
      flopsPerElement: 1,
    },
    device,
  );
};

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

export interface RandomFillProblem extends Draw {
  n: number;
}

/** Bindings y, step. */
export const randomUniform: Kernel<RandomFillProblem & { low: number; high: number }> = (problem, device) => {
  const { n, low, high, ...draw } = problem;
  require(n > 0 && Number.isFinite(high - low), 'randomUniform', 'elements, and finite bounds', { n, low, high });
  return elementwise(
    {
      name: 'randomUniform',
      n,
      bindings: [output('y', 'vec4f')],
      shared: [input('step', 'u32')],
      uniforms: { ...drawUniforms(draw), low: f32(low), range: f32(high - low) },
      functions: drawWgsl,
      body: `let words = draw(i + params.first_vector);
      let u = vec4f(uniform01(words.x), uniform01(words.y), uniform01(words.z), uniform01(words.w));
      y[i] = params.low + params.range * u;`,
      flopsPerElement: 2,
    },
    device,
  );
};

/**
 * `cos_turn(word)`: the cosine of the angle word / 2^32 turns, from the word itself: the quadrant exactly, the rest in
 * [-pi/4, pi/4] by the Taylor polynomials, which are within 4e-7 there (the built-in may be off by 5e-4).
 */
const cosTurnWgsl = /* wgsl */ `
fn cos_turn(word: u32) -> f32 {
  let quadrant = (word + 0x20000000u) >> 30u;
  let t = f32(bitcast<i32>(word - (quadrant << 30u))) * 1.46291807926715968e-9;
  let z = t * t;
  let cosine = 1.0 + z * (-0.5 + z * (4.16666667e-2 + z * (-1.38888889e-3 + z * 2.48015873e-5)));
  let sine = t + t * z * (-1.66666667e-1 + z * (8.33333333e-3 + z * (-1.98412698e-4 + z * 2.75573192e-6)));
  let value = select(cosine, sine, (quadrant & 1u) == 1u);
  return select(value, -value, quadrant == 1u || quadrant == 2u);
}
`;

/** Bindings y, step. */
export const randomNormal: Kernel<RandomFillProblem & { mean: number; std: number }> = (problem, device) => {
  const { n, mean, std, ...draw } = problem;
  require(n > 0 && Number.isFinite(mean) && Number.isFinite(std), 'randomNormal', 'elements, finite mean and std', {
    n,
    mean,
    std,
  });
  return elementwise(
    {
      name: 'randomNormal',
      n,
      bindings: [output('y', 'vec4f')],
      shared: [input('step', 'u32')],
      uniforms: { ...drawUniforms(draw), mean: f32(mean), deviation: f32(std) },
      functions: /* wgsl */ `
${drawWgsl}
${logWgsl}
${cosTurnWgsl}
fn normal(radius_word: u32, angle_word: u32) -> f32 {
  let u = (f32(radius_word) + 0.5) * 2.3283064365386963e-10;
  return sqrt(max(-2.0 * accurate_log(u), 0.0)) * cos_turn(angle_word);
}
`,
      body: `let block = 2u * (i + params.first_vector);
      let a = draw(block);
      let b = draw(block + 1u);
      let z = vec4f(normal(a.x, a.y), normal(a.z, a.w), normal(b.x, b.y), normal(b.z, b.w));
      y[i] = params.mean + params.deviation * z;`,
      flopsPerElement: 50,
    },
    device,
  );
};
