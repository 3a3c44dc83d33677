/**
 * Images at another size, one direction at a time: y[o, i, n] = the sum over j of w(i, j) x[o, j, n], for x [outer, length, inner]
 * and y [outer, size, inner]. Pixel i of y has its centre at (i + 1/2) scale - 1/2 of x, with scale = length / size; with aligned
 * corners at i (length - 1) / (size - 1).
 *
 *     nearest   the pixel at the rounded down i scale
 *     bilinear  the two neighbours, by distance
 *     bicubic   four neighbours, by Keys's kernel (1981) with a = -0.75
 *
 * Beyond the edge its pixel counts. No smoothing goes before a reduction, as in PyTorch without `antialias`. Gradient, written:
 * dx[o, j, n] = the sum over i of w(i, j) dy[o, i, n], over the i that can reach j.
 *
 * Cost: taps reads an element. `deit kernel interpolate` shows the kernels.
 */
import { pointwise } from '../lib/elementwise.ts';
import { f32, input, require, u32 } from '../lib/kernel.ts';
import { perElement } from '../lib/per-element.ts';

export type InterpolationMode = 'nearest' | 'bilinear' | 'bicubic';

export interface InterpolateProblem {
  outer: number;
  length: number;
  size: number;
  inner: number;
  mode: InterpolationMode;
  alignCorners: boolean;
}

/** The neighbours of a point: how many, and WGSL of the weight of the one at `distance` (of either sign) from it. */
const taps = {
  nearest: { count: 1, first: 'floor(place)', weight: '1.0' },
  bilinear: { count: 2, first: 'floor(place)', weight: '1.0 - abs(distance)' },
  bicubic: { count: 4, first: 'floor(place) - 1.0', weight: 'cubic(abs(distance))' },
};

const cubicWgsl = /* wgsl */ `
fn cubic(t: f32) -> f32 {
  const a = -0.75;
  let near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
  let far = ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
  return select(far, near, t <= 1.0);
}
`;

/** The place of pixel i of y in x, and the weight of a neighbour. */
function placeWgsl({ mode }: InterpolateProblem): string {
  const { first, weight } = taps[mode];
  const linear = 'max((f32(i) + 0.5) * params.scale - 0.5, 0.0)';
  const cubic = '(f32(i) + 0.5) * params.scale - 0.5';
  const aligned = 'f32(i) * params.scale';
  const free = mode === 'nearest' ? aligned : mode === 'bilinear' ? linear : cubic;
  return /* wgsl */ `${mode === 'bicubic' ? cubicWgsl : ''}
fn place_of(i: u32) -> f32 { return select(${free}, ${aligned}, params.align_corners == 1u); }
fn first_of(place: f32) -> f32 { return ${first}; }
fn weight_of(distance: f32) -> f32 { return ${weight}; }
fn inside(j: f32) -> u32 { return u32(clamp(j, 0.0, f32(params.length - 1u))); }
`;
}

function scaleOf({ length, size, alignCorners }: InterpolateProblem): number {
  if (!alignCorners) return length / size;
  return size > 1 ? (length - 1) / (size - 1) : 0;
}

const uniformsOf = (problem: InterpolateProblem) => ({
  length: u32(problem.length),
  size: u32(problem.size),
  inner: u32(problem.inner),
  align_corners: u32(problem.alignCorners ? 1 : 0),
  scale: f32(scaleOf(problem)),
});

/** Bindings x, y. */
export const interpolate = pointwise<InterpolateProblem>('interpolate.forward', (problem) => {
  const { outer, length, size, inner, mode } = problem;
  require(outer * length * size * inner > 0, 'interpolate', 'no empty dimension', problem);
  const { count } = taps[mode];
  return perElement({
    name: `interpolate.forward/${mode}`,
    n: outer * size * inner,
    type: 'f32',
    inputs: [input('x')],
    uniforms: uniformsOf(problem),
    functions: /* wgsl */ `${placeWgsl(problem)}
fn element(at: u32) -> f32 {
  let line = at / params.inner;
  let place = place_of(line % params.size);
  let first = first_of(place);
  let row = line / params.size * params.length;
  var total = 0.0;
  for (var tap = 0u; tap < ${count}u; tap++) {
    let j = first + f32(tap);
    total += weight_of(place - j) * x[(row + inside(j)) * params.inner + at % params.inner];
  }
  return total;
}
`,
    flopsPerElement: 4 * count,
    sharedBytes: (4 * length) / size,
  });
});

/** Bindings dy, y (which is dx). */
export const interpolateGradient = pointwise<InterpolateProblem>('interpolate.backward', (problem) => {
  const { outer, length, size, inner, mode } = problem;
  require(outer * length * size * inner > 0, 'interpolate.backward', 'no empty dimension', problem);
  const { count } = taps[mode];
  return perElement({
    name: `interpolate.backward/${mode}`,
    n: outer * length * inner,
    type: 'f32',
    inputs: [input('dy')],
    uniforms: uniformsOf(problem),
    functions: /* wgsl */ `${placeWgsl(problem)}
fn element(at: u32) -> f32 {
  let line = at / params.inner;
  let j = line % params.length;
  let row = line / params.length * params.size;
  // The pixels of y whose neighbours may be j; those at an edge serve all that lies beyond it.
  var begin = 0u;
  var end = params.size;
  if (params.scale > 0.0) {
    if (j > 0u) { begin = u32(clamp((f32(j) - 3.0) / params.scale - 1.0, 0.0, f32(params.size))); }
    if (j + 1u < params.length) { end = min(params.size, u32((f32(j) + 4.0) / params.scale) + 2u); }
  }
  var total = 0.0;
  for (var i = begin; i < end; i++) {
    let place = place_of(i);
    let first = first_of(place);
    for (var tap = 0u; tap < ${count}u; tap++) {
      let neighbour = first + f32(tap);
      if (inside(neighbour) == j) { total += weight_of(place - neighbour) * dy[(row + i) * params.inner + at % params.inner]; }
    }
  }
  return total;
}
`,
    flopsPerElement: (8 * count * size) / length,
    sharedBytes: (4 * size) / length,
  });
});
