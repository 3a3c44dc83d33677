/**
 * y = x with src[o, k, i] at [o, index[o, k, i], i], for x [outer, length, inner], index (i32) and src [outer, count, inner]:
 *
 *     replace   the last of equal indices stays (PyTorch leaves open which)
 *     add       y = x + all of them, in the order of k
 *     mask      y = x where nothing goes, else 0: the gradient of x in `replace`
 *
 * Each invocation goes through the indices of its line, so that the order is fixed, without atomics. Indices out of range go
 * nowhere. The gradient of src is dy gathered.
 *
 * Cost: each element of y reads its line of indices. `deit kernel scatter` shows the kernels.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, require, u32 } from '../lib/kernel.ts';
import { perElement } from '../lib/per-element.ts';

export interface ScatterProblem {
  outer: number;
  length: number;
  inner: number;
  count: number;
}

const steps = { replace: 'value = src[source];', add: 'value += src[source];', mask: 'value = 0.0;' };

/** Bindings x, index, src (but for mask), y. */
export const scatterElements = pointwise<ScatterProblem & { mode: keyof typeof steps }>('scatter', (problem) => {
  const { outer, length, inner, count, mode } = problem;
  require(outer * inner * count * length > 0, 'scatter', 'no empty dimension', problem);
  return perElement({
    name: `scatter/${mode}`,
    n: outer * length * inner,
    type: 'f32',
    inputs: [input('x'), input('index', 'i32'), ...(mode === 'mask' ? [] : [input('src')])],
    uniforms: { length: u32(length), inner: u32(inner), count: u32(count) },
    functions: /* wgsl */ `
fn element(at: u32) -> f32 {
  let line = at / params.inner;
  let r = i32(line % params.length);
  let first = line / params.length * params.count * params.inner + at % params.inner;
  var value = x[at];
  for (var k = 0u; k < params.count; k++) {
    let source = first + k * params.inner;
    if (index[source] == r) { ${steps[mode]} }
  }
  return value;
}
`,
    flopsPerElement: count,
    sharedBytes: 4 + ((mode === 'mask' ? 4 : 8) * count) / length,
  });
});
