/**
 * Moving elements without computing: permute, slice, flip, expand, crop (`stridedLoad`), concatenation (`stridedStore`), padding
 * (`pad`). Elements are 32-bit words, moved bit by bit whatever their dtype; four at a time where the layouts allow.
 *
 *   stridedLoad    y[i0, i1, ...] = x[offset + sum_d i_d stride_d]        y contiguous of the sizes given
 *   stridedStore   y[offset + sum_d i_d stride_d] = x[i0, i1, ...]        x contiguous; the rest of y is left alone
 *   pad            y[o, r, c] = x[o, r - top, c - left], or 0 outside x
 *
 * Gradients are such moves again. Cost: each element is read and written once. `deit kernel transpose` and `deit kernel pad` show
 * kernels.
 */
import { elementwise, elementwisePlain, pointwise } from '../lib/elementwise.ts';
import type { ElementwiseSpec } from '../lib/elementwise.ts';
import { i32, input, output, require, u32 } from '../lib/kernel.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { transposeInner } from './transpose.ts';

/** Dimensions of the contiguous side, outermost first, with strides into the other side, in elements. */
export interface StridedProblem {
  dims: readonly { readonly size: number; readonly stride: number }[];
  offset: number;
}

const MAX_RANK = 6;

/** Without dimensions of size 1, and with neighbours merged that are one run of memory on both sides. */
export function mergeStrided(dims: StridedProblem['dims']): { size: number; stride: number }[] {
  const merged: { size: number; stride: number }[] = [];
  for (const { size, stride } of dims) {
    if (size === 1) continue;
    const last = merged.at(-1);
    if (last?.stride === stride * size) {
      last.size *= size;
      last.stride = stride;
    } else merged.push({ size, stride });
  }
  return merged.length > 0 ? merged : [{ size: 1, stride: 1 }];
}

/** The strided side's addresses: in vectors where every run is made of whole vectors, else in words. */
function addressing({ dims, offset }: StridedProblem, kernel: string) {
  const merged = mergeStrided(dims);
  const n = merged.reduce((product, { size }) => product * size, 1);
  require(merged.length <= MAX_RANK, kernel, `at most ${MAX_RANK} dimensions after merging`, merged);
  const inner = merged[merged.length - 1];
  const vector =
    inner.stride === 1 &&
    inner.size % 4 === 0 &&
    offset % 4 === 0 &&
    merged.slice(0, -1).every(({ stride }) => stride % 4 === 0);
  if (vector) {
    merged.forEach((dim) => (dim.stride /= dim === inner ? 1 : 4));
    inner.size /= 4;
  }
  const steps = merged.slice(1).map((_, i) => {
    const d = merged.length - 1 - i;
    return `at += i32(rest % params.size${d}) * params.stride${d}; rest /= params.size${d};`;
  });
  return {
    n,
    vector,
    uniforms: {
      n: u32(n),
      offset: i32(vector ? offset / 4 : offset),
      ...Object.fromEntries(merged.flatMap(({ size }, d) => [[`size${d}`, u32(size)]])),
      ...Object.fromEntries(merged.flatMap(({ stride }, d) => [[`stride${d}`, i32(stride)]])),
    },
    functions: /* wgsl */ `
fn address(index: u32) -> u32 {
  var rest = index;
  var at = params.offset;
  ${steps.join('\n  ')}
  return u32(at + i32(rest) * params.stride0);
}
`,
  };
}

function loadSpec(problem: StridedProblem): ElementwiseSpec {
  const { n, vector, uniforms, functions } = addressing(problem, 'strided_load');
  return {
    name: `strided_load/${vector ? 'vector' : 'word'}`,
    n,
    bindings: [output('y', 'vec4u')],
    shared: [input('x', vector ? 'vec4u' : 'u32')],
    uniforms,
    functions,
    body: vector
      ? 'y[i] = x[address(i + params.first_vector)];'
      : `let e = 4u * (i + params.first_vector);
      y[i] = vec4u(x[address(e)], x[address(e + 1u)], x[address(e + 2u)], x[address(e + 3u)]);`,
    flopsPerElement: 0,
    sharedBytes: 4,
  };
}

function merged({ dims, offset }: StridedProblem): StridedProblem {
  require(dims.every(({ size }) => size > 0), 'gather', 'at least one element', dims);
  return { dims: mergeStrided(dims), offset };
}

/** Bindings x, y. */
export const stridedLoad = kernelOf<StridedProblem>('strided_load', merged, [
  {
    name: 'transpose',
    fits: (problem, device) => transposeInner(problem, device) !== null,
    launches: (problem, device) => transposeInner(problem, device)!,
  },
  { name: 'strided', fits: () => true, launches: (problem, device) => elementwise(loadSpec(problem), device) },
  plain(
    ({ dims }) => 4 * dims.reduce((n, { size }) => n * size, 1),
    (problem, device) => elementwisePlain(loadSpec(problem), device),
  ),
]);

/** Bindings x, y. */
export const stridedStore = pointwise<StridedProblem>('strided_store', (problem) => {
  const { n, vector, uniforms, functions } = addressing(problem, 'strided_store');
  const word = (k: number) => `if (e + ${k}u < params.n) { y[address(e + ${k}u)] = value[${k}]; }`;
  return {
    name: `strided_store/${vector ? 'vector' : 'word'}`,
    n,
    bindings: [input('x', 'vec4u')],
    shared: [output('y', vector ? 'vec4u' : 'u32')],
    uniforms,
    functions,
    body: vector
      ? 'y[address(i + params.first_vector)] = x[i];'
      : `let value = x[i];
      let e = 4u * (i + params.first_vector);
      ${[0, 1, 2, 3].map(word).join('\n      ')}`,
    flopsPerElement: 0,
    sharedBytes: 4,
  };
});

export interface PadProblem {
  outer: number;
  /** Sizes of x. */
  rows: number;
  columns: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** Bindings x, y. */
export const pad = pointwise<PadProblem>('pad', ({ outer, rows, columns, left, right, top, bottom }) => {
  require(Math.min(left, right, top, bottom) >= 0, 'pad', 'no negative padding', { left, right, top, bottom });
  const width = columns + left + right;
  const height = rows + top + bottom;
  const vector = [columns, left, right].every((size) => size % 4 === 0);
  const unit = vector ? 4 : 1;
  const type = vector ? 'vec4u' : 'u32';
  return {
    name: `pad/${vector ? 'vector' : 'word'}`,
    n: outer * width * height,
    bindings: [output('y', 'vec4u')],
    shared: [input('x', type)],
    uniforms: {
      rows: u32(rows),
      columns: u32(columns / unit),
      height: u32(height),
      width: u32(width / unit),
      left: u32(left / unit),
      top: u32(top),
    },
    functions: /* wgsl */ `
fn padded(index: u32) -> ${type} {
  // Left of or above x, the unsigned difference is large.
  let column = index % params.width - params.left;
  let line = index / params.width;
  let row = line % params.height - params.top;
  if (column >= params.columns || row >= params.rows) { return ${type}(); }
  return x[(line / params.height * params.rows + row) * params.columns + column];
}
`,
    body: vector
      ? 'y[i] = padded(i + params.first_vector);'
      : `let e = 4u * (i + params.first_vector);
      y[i] = vec4u(padded(e), padded(e + 1u), padded(e + 2u), padded(e + 3u));`,
    flopsPerElement: 0,
    sharedBytes: (4 * rows * columns) / (height * width),
  };
});
