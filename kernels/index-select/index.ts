/**
 * y[o, j, i] = x[o, index[j], i] for x [outer, length, inner] and index [count] in i32. Elements are 32-bit words. The
 * GPU cannot throw: where an index is out of range, y gets the word `invalid` (a NaN, for f32).
 *
 * Gradient, written: dx[o, r, i] = sum over j with index[j] = r of dy[o, j, i]. Each invocation goes through the indices
 * in order, so that equal indices add up in a fixed order, without atomics.
 *
 * Cost: memory traffic forward; backward reads the whole index for each element. `deit kernel index_select` shows the kernels.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, output, require, u32 } from '../lib/kernel.ts';

export interface IndexSelectProblem {
  outer: number;
  length: number;
  inner: number;
  count: number;
}

const four = (name: string): string =>
  `let e = 4u * (i + params.first_vector);
      y[i] = ${name === 'selected' ? 'vec4u' : 'vec4f'}(${[0, 1, 2, 3].map((k) => `${name}(e + ${k}u)`).join(', ')});`;

/** Bindings x, index, y. */
export const indexSelect = pointwise<IndexSelectProblem & { invalid: number }>('index_select.forward', (problem) => {
  const { outer, length, inner, count, invalid } = problem;
  require(outer * inner * count > 0 && length > 0, 'indexSelect', 'no empty dimension', problem);
  const vector = inner % 4 === 0;
  const type = vector ? 'vec4u' : 'u32';
  return {
    name: `indexSelect.forward/${vector ? 'vector' : 'word'}`,
    n: outer * count * inner,
    bindings: [output('y', 'vec4u')],
    shared: [input('x', type), input('index', 'i32')],
    uniforms: {
      length: u32(length),
      inner: u32(vector ? inner / 4 : inner),
      count: u32(count),
      invalid: u32(invalid),
    },
    functions: /* wgsl */ `
fn selected(at: u32) -> ${type} {
  let line = at / params.inner;
  let r = u32(index[line % params.count]);
  // A negative index is a large unsigned one.
  if (r >= params.length) { return ${type}(params.invalid); }
  return x[(line / params.count * params.length + r) * params.inner + at % params.inner];
}
`,
    body: vector ? 'y[i] = selected(i + params.first_vector);' : four('selected'),
    flopsPerElement: 0,
    sharedBytes: 4,
  };
});

/** Bindings dy, index, y (which is dx). */
export const indexSelectGradient = pointwise<IndexSelectProblem>('index_select.backward', (problem) => {
  const { outer, length, inner, count } = problem;
  require(outer * inner * length > 0, 'indexSelect.backward', 'no empty dimension', problem);
  const vector = inner % 4 === 0;
  const type = vector ? 'vec4f' : 'f32';
  return {
    name: `indexSelect.backward/${vector ? 'vector' : 'word'}`,
    n: outer * length * inner,
    bindings: [output('y', 'vec4f')],
    shared: [input('dy', type), input('index', 'i32')],
    uniforms: { length: u32(length), inner: u32(vector ? inner / 4 : inner), count: u32(count) },
    functions: /* wgsl */ `
fn gathered(at: u32) -> ${type} {
  let line = at / params.inner;
  let r = i32(line % params.length);
  let base = line / params.length * params.count;
  var total = ${type}();
  for (var j = 0u; j < params.count; j++) {
    if (index[j] == r) { total += dy[(base + j) * params.inner + at % params.inner]; }
  }
  return total;
}
`,
    body: vector ? 'y[i] = gathered(i + params.first_vector);' : four('gathered'),
    flopsPerElement: count / length,
    sharedBytes: (4 * count) / length,
  };
});
