import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { createEngine } from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import { pad, stridedLoad, stridedStore } from '../../kernels/shape/index.ts';
import type { StridedProblem } from '../../kernels/shape/index.ts';
import { transposeInner } from '../../kernels/shape/transpose.ts';
import { stridedLoadReference, padReference, stridedStoreReference } from '../../kernels/shape/reference.ts';
import { CAT_CASES, PAD_CASES, PERMUTE_CASES, SLICE_CASES } from '../cases/shape.ts';
import { indices, product, ravel } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import type { Operand } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { useEngineAs } from '../support/device-profiles.ts';
import { resultOf } from '../support/run-kernel.ts';

const engine = useEngine();

const operand = (shape: readonly number[], seed = 1): Operand => ({ shape, data: uniform(product(shape), seed) });

/**
 * Checks an operator that moves elements: `source(index)` says for each index of the result which operand it comes from
 * and from which index, or null for a zero. Values are moved, so equality is exact; gradients are sums of few terms.
 */
async function expectMoved(
  operands: readonly Operand[],
  f: (...xs: Tensor[]) => Tensor,
  shape: readonly number[],
  source: (index: number[]) => readonly [number, readonly number[]] | null,
): Promise<void> {
  const result = await differentiate(engine(), operands, f);
  expect(result.shape).toEqual(shape);
  const gradients = operands.map(({ data }) => new Float64Array(data.length));
  const y: number[] = [];
  for (const index of indices(shape)) {
    const from = source(index);
    const at = from ? ravel(from[1], operands[from[0]].shape) : 0;
    if (from) gradients[from[0]][at] += result.dy[y.length];
    y.push(from ? operands[from[0]].data[at] : 0);
  }
  expect(Array.from(result.y)).toEqual(y);
  gradients.forEach((gradient, i) => expectClose(result.gradients[i], gradient, 1e-6, `gradient ${i}`));
}

/** Sizes and strides, and the elements of the strided tensor. */
const strided = (offset: number, ...dims: [size: number, stride: number][]): StridedProblem => ({
  dims: dims.map(([size, stride]) => ({ size, stride })),
  offset,
});
const STRIDED: readonly { name: string; problem: StridedProblem; elements: number }[] = [
  { name: 'one element', problem: strided(2, [1, 1]), elements: 3 },
  { name: 'a run of words', problem: strided(3, [7, 1]), elements: 10 },
  { name: 'runs of vectors', problem: strided(4, [3, 24], [8, 1]), elements: 64 },
  { name: 'a transposition in blocks', problem: strided(0, [2, 96], [12, 1], [8, 12]), elements: 192 },
  { name: 'a transposition of odd sizes', problem: strided(0, [5, 1], [7, 5]), elements: 35 },
  { name: 'backwards', problem: strided(23, [4, -6], [6, -1]), elements: 24 },
  { name: 'four dimensions', problem: strided(1, [2, 60], [3, 20], [2, 10], [5, 2]), elements: 120 },
];

describe.each(stridedLoad.variants)('strided load, variant %s', (variant) => {
  it.each(STRIDED)('$name', async ({ problem, elements }) => {
    if (!stridedLoad.has(variant, problem, engine().profile)) return;
    const x = uniform(elements, 1);
    const expected = stridedLoadReference(problem, x);
    const y = await resultOf(
      engine(),
      stridedLoad,
      { ...problem, variant },
      { x: engine().tensor(x) },
      expected.length,
    );
    expect(y).toEqual(expected);
  });
});

describe.each(stridedStore.variants)('strided store, variant %s', (variant) => {
  it.each(STRIDED)('$name', async ({ problem, elements }) => {
    const gpu = engine();
    const x = uniform(product(problem.dims.map(({ size }) => size)), 1);
    const before = uniform(elements, 2);
    const y = gpu.tensor(before);
    gpu.run('test', stridedStore, { ...problem, variant }, { x: gpu.tensor(x), y });
    expect(Array.from(await y.read())).toEqual(stridedStoreReference(problem, x, before));
  });
});

describe.each(pad.variants)('pad, variant %s', (variant) => {
  it.each([
    { outer: 2, rows: 3, columns: 5, left: 1, right: 2, top: 0, bottom: 1 },
    { outer: 3, rows: 2, columns: 8, left: 4, right: 0, top: 1, bottom: 0 },
    { outer: 1, rows: 0, columns: 3, left: 1, right: 1, top: 2, bottom: 0 },
  ])('$rows x $columns', async (problem) => {
    const x = uniform(problem.outer * problem.rows * problem.columns, 1);
    const expected = padReference(problem, x);
    const y = await resultOf(engine(), pad, { ...problem, variant }, { x: engine().tensor(x) }, expected.length);
    expect(y).toEqual(expected);
  });
});

describe('moving elements', () => {
  it.each(PERMUTE_CASES)('permute $shape by $dims', async ({ shape, dims }) => {
    const normal = dims.map((d) => (d < 0 ? d + shape.length : d));
    await expectMoved(
      [operand(shape)],
      (x) => ops.permute(x, dims),
      normal.map((d) => shape[d]),
      (index) => [0, shape.map((_, d) => index[normal.indexOf(d)])],
    );
  });

  it('transpose exchanges two dimensions', async () => {
    await expectMoved(
      [operand([2, 3, 4])],
      (x) => ops.transpose(x, 0, -1),
      [4, 3, 2],
      ([a, b, c]) => [0, [c, b, a]],
    );
  });

  it.each(SLICE_CASES)('slice $shape, dimension $dim, $start to $end', async ({ shape, dim, start, end }) => {
    const d = dim < 0 ? dim + shape.length : dim;
    const [from, to] = [start, end].map((i) => Math.min(i < 0 ? i + shape[d] : i, shape[d]));
    const result = shape.map((size, k) => (k === d ? Math.max(0, to - from) : size));
    await expectMoved(
      [operand(shape)],
      (x) => ops.slice(x, dim, start, end),
      result,
      (index) => [0, index.map((i, k) => (k === d ? i + from : i))],
    );
  });

  it.each(CAT_CASES)('cat $shapes along $dim', async ({ shapes, dim }) => {
    const d = dim < 0 ? dim + shapes[0].length : dim;
    const total = shapes.reduce((sum, shape) => sum + shape[d], 0);
    await expectMoved(
      shapes.map((shape, i) => operand(shape, i)),
      (...xs) => ops.cat(xs, dim),
      shapes[0].map((size, k) => (k === d ? total : size)),
      (index) => {
        let at = index[d];
        let i = 0;
        while (at >= shapes[i][d]) at -= shapes[i++][d];
        return [i, index.map((value, k) => (k === d ? at : value))];
      },
    );
  });

  it.each(PAD_CASES)('pad $shape by $padding', async ({ shape, padding }) => {
    const [left, right, top, bottom] = padding;
    const [rows, columns] = shape.slice(-2);
    const result = [...shape.slice(0, -2), rows + top + bottom, columns + left + right];
    await expectMoved(
      [operand(shape)],
      (x) => ops.pad(x, padding),
      result,
      (index) => {
        const [r, c] = [index.at(-2)! - top, index.at(-1)! - left];
        return r >= 0 && r < rows && c >= 0 && c < columns ? [0, [...index.slice(0, -2), r, c]] : null;
      },
    );
  });

  it.each([
    { shape: [5], dim: 0 },
    { shape: [3, 4, 8], dim: 1 },
    { shape: [3, 4, 8], dim: -1 },
  ])('flip $shape along $dim', async ({ shape, dim }) => {
    const d = dim < 0 ? dim + shape.length : dim;
    await expectMoved(
      [operand(shape)],
      (x) => ops.flip(x, dim),
      shape,
      (index) => [0, index.map((i, k) => (k === d ? shape[d] - 1 - i : i))],
    );
  });

  it.each([
    { shape: [], to: [2, 3] },
    { shape: [1, 1, 8], to: [5, 3, 8] },
    { shape: [3, 1], to: [2, -1, 7] },
    { shape: [3, 5], to: [3, 5] },
    { shape: [2, 1, 4, 1], to: [2, 3, 4, 5] },
  ])('expand $shape to $to', async ({ shape, to }) => {
    const lead = to.length - shape.length;
    const full = to.map((size, d) => (size === -1 ? shape[d - lead] : size));
    await expectMoved(
      [operand(shape)],
      (x) => ops.expand(x, to),
      full,
      (index) => [0, index.slice(lead).map((i, d) => (shape[d] === 1 ? 0 : i))],
    );
  });
});

describe('views', () => {
  it('reshape, and what moves nothing, dispatch nothing and share memory', async () => {
    // Debug mode checks every result by a dispatch of its own.
    const own = await createEngine({ debug: false });
    const x = own.tensor(uniform(24, 1), [2, 3, 4]).requiresGrad_();
    await own.idle();
    const before = own.statistics.dispatches;
    const y = ops.permute(ops.reshape(x, [6, -1, 1]), [2, 0, 1]);
    expect(y.shape).toEqual([1, 6, 4]);
    expect(y.storage).toBe(x.storage);
    expect(await y.read()).toEqual(await x.read());
    expect(own.statistics.dispatches).toBe(before);
    y.backward(own.tensor(uniform(24, 2), [1, 6, 4]));
    expect(await x.grad!.read()).toEqual(uniform(24, 2));
    expect(x.grad!.shape).toEqual([2, 3, 4]);
    own.close();
  });
});

describe('integers and special words', () => {
  it('are moved bit by bit', async () => {
    const words = [0x7fc00001, 0xffc12345, 0x80000000, 1, 0x7f800001, 2, 3, 4];
    const x = engine().tensor(words, [2, 4], 'u32');
    const y = ops.permute(x, [1, 0]);
    expect(y.dtype).toBe('u32');
    expect(Array.from(await y.read())).toEqual([0, 4, 1, 5, 2, 6, 3, 7].map((i) => words[i]));
    const labels = engine().tensor([3, -1, 7], [3], 'i32');
    expect(Array.from(await ops.cat([labels, ops.flip(labels, 0)]).read())).toEqual([3, -1, 7, 7, -1, 3]);
  });
});

describe('transposition in blocks', () => {
  const small = useEngineAs({ maxBindingSize: 65536 });
  it('is split between matrices where bindings are small', async () => {
    const shape = [20, 32, 36];
    const data = uniform(product(shape), 1);
    const y = await ops.transpose(small().tensor(data, shape), 1, 2).read();
    const expected = Array.from(indices([20, 36, 32]), ([b, i, j]) => data[ravel([b, j, i], shape)]);
    expect(Array.from(y)).toEqual(expected);
  });
});

it('what does not fit is an error', () => {
  const x = engine().zeros([2, 3]);
  expect(() => ops.reshape(x, [4, -1])).toThrow(/shape-mismatch/);
  expect(() => ops.reshape(x, [-1, -1])).toThrow(/shape-mismatch/);
  expect(() => ops.permute(x, [0, 0])).toThrow(/bad-argument/);
  expect(() => ops.expand(x, [2, 4])).toThrow(/shape-mismatch/);
  expect(() => ops.expand(x, [3])).toThrow(/shape-mismatch/);
  expect(() => ops.slice(x, 2, 0, 1)).toThrow(/bad-argument/);
  expect(() => ops.slice(x, 0, 0.5, 1)).toThrow(/bad-argument/);
  expect(() => ops.cat([x, engine().zeros([3, 2])], 0)).toThrow(/shape-mismatch/);
  expect(() => ops.cat([])).toThrow(/bad-argument/);
  expect(() => ops.pad(x, [1, 1, 1, -1])).toThrow(/bad-argument/);
  expect(() => ops.indexSelect(x, 0, engine().zeros([2]))).toThrow(/dtype-mismatch/);
  expect(() => ops.flip(engine().empty([2], 'f16'), 0)).toThrow(/dtype-mismatch/);
});

it('a transposition reads and writes every element once, and counts that', () => {
  // x[b, m, n] by the axes of y[b, n, m].
  const dims = [
    { size: 3, stride: 96 },
    { size: 12, stride: 1 },
    { size: 8, stride: 12 },
  ];
  const [launch, ...others] = transposeInner({ dims, offset: 0 }, engine().profile)!;
  expect(others).toEqual([]);
  expect(launch.name).toBe('strided_load/transpose');
  expect(launch.cost).toEqual({ flops: 0, bytes: 2 * 4 * (3 * 12 * 8) });
});
