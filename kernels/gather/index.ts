/**
 * y[o, k, i] = x[o, index[o, k, i], i] for x [outer, length, inner] and index [outer, count, inner] in i32. Elements are 32-bit
 * words. The GPU cannot throw: where an index is out of range, y gets the word `invalid` (a NaN, for f32).
 *
 * Gradient, written: dx[o, r, i] = the sum over k with index[o, k, i] = r of dy[o, k, i]. Each invocation goes through the
 * indices of its line in order, so that equal indices add up in a fixed order, without atomics.
 *
 * Cost: y is one read; dx reads its line of indices for each element, which is count reads of 4 bytes. `deit kernel gather` shows the kernels.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, require, u32 } from '../lib/kernel.ts';
import { perElement } from '../lib/per-element.ts';

export interface GatherProblem {
  outer: number;
  length: number;
  inner: number;
  count: number;
}

/** Bindings x, index, y. */
export const gatherElements = pointwise<GatherProblem & { invalid: number }>('gather.forward', (problem) => {
  const { outer, length, inner, count, invalid } = problem;
  require(outer * inner * count * length > 0, 'gather', 'no empty dimension', problem);
  return perElement({
    name: 'gather.forward',
    n: outer * count * inner,
    type: 'u32',
    inputs: [input('x', 'u32'), input('index', 'i32')],
    uniforms: { length: u32(length), inner: u32(inner), count: u32(count), invalid: u32(invalid) },
    functions: /* wgsl */ `
fn element(at: u32) -> u32 {
  // A negative index is a large unsigned one.
  let r = u32(index[at]);
  if (r >= params.length) { return params.invalid; }
  return x[(at / params.inner / params.count * params.length + r) * params.inner + at % params.inner];
}
`,
    flopsPerElement: 0,
    sharedBytes: 8,
  });
});

/** Bindings dy, index, y (which is dx). */
export const gatherGradient = pointwise<GatherProblem>('gather.backward', (problem) => {
  const { outer, length, inner, count } = problem;
  require(outer * inner * count * length > 0, 'gather.backward', 'no empty dimension', problem);
  return perElement({
    name: 'gather.backward',
    n: outer * length * inner,
    type: 'f32',
    inputs: [input('dy'), input('index', 'i32')],
    uniforms: { length: u32(length), inner: u32(inner), count: u32(count) },
    functions: /* wgsl */ `
fn element(at: u32) -> f32 {
  let line = at / params.inner;
  let r = i32(line % params.length);
  let first = line / params.length * params.count * params.inner + at % params.inner;
  var total = 0.0;
  for (var k = 0u; k < params.count; k++) {
    let source = first + k * params.inner;
    if (index[source] == r) { total += dy[source]; }
  }
  return total;
}
`,
    flopsPerElement: count,
    sharedBytes: (8 * count) / length,
  });
});
