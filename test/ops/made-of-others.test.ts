/** Operators whose results ops/golden-ops.test.ts does not see: several results, indices, errors, what is made from numbers. */
import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

describe('what orders elements', () => {
  it('tells where they were: the first of equal ones, NaN as the largest', async () => {
    const x = engine().tensor([
      [3, NaN, 1, 3],
      [-0, 0, -1, -Infinity],
    ]);
    expect(await x.max(1).indices.array()).toEqual([1, 0]);
    expect(await x.min(1).indices.array()).toEqual([1, 3]);
    expect(await x.argsort(1).array()).toEqual([
      [2, 0, 3, 1],
      [3, 2, 0, 1],
    ]);
    expect(await x.sort(1, { descending: true }).indices.array()).toEqual([
      [1, 0, 3, 2],
      [0, 1, 2, 3],
    ]);
    const { values, indices } = x.topk(2, 1, { largest: false });
    expect(await values.array()).toEqual([
      [1, 3],
      [-Infinity, -1],
    ]);
    expect(await indices.array()).toEqual([
      [2, 0],
      [3, 2],
    ]);
    expect(() => x.topk(5, 1)).toThrow(/bad-argument/);
  });

  it('sorts more than fits shared memory as the host does', async () => {
    const n = 10_000;
    const values = Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 1009) - 500);
    const indices = await engine().tensor(values).argsort().read();
    const expected = Array.from(values.keys()).sort((a, b) => values[a] - values[b] || a - b);
    expect(Array.from(indices)).toEqual(expected);
  });
});

describe('comparisons and where', () => {
  it('take numbers, and give no gradient to the condition', async () => {
    const x = engine().tensor([-1, 0, 2, NaN]).requiresGrad_();
    const y = ops.where(x.gt(0), x.mul(10), -1);
    expect(await y.array()).toEqual([-1, -1, 20, -1]);
    y.sum().backward();
    expect(await x.grad!.array()).toEqual([0, 0, 10, 0]);
    expect(await x.ne(x).array()).toEqual([0, 0, 0, 1]);
  });
});

describe('indices out of range', () => {
  it('gather NaN and scatter nowhere', async () => {
    const x = engine().tensor([1, 2, 3]);
    const index = engine().tensor([2, 3, -1], [3], 'i32');
    expect(await x.gather(0, index).array()).toEqual([3, NaN, NaN]);
    expect(await x.scatter(0, index, 9).array()).toEqual([1, 2, 9]);
    expect(await x.scatterAdd(0, index, 9).array()).toEqual([1, 2, 12]);
    expect(() => x.gather(0, x)).toThrow(/dtype-mismatch/);
  });
});

describe('einsum', () => {
  it('refuses what it cannot do, by name', () => {
    const x = engine().zeros([2, 2]);
    expect(() => ops.einsum('ij->ii', x)).toThrow(/each once/);
    expect(() => ops.einsum('ij,jk->ik', x)).toThrow(/2 operands/);
    expect(() => ops.einsum('ij,jk->il', x, x)).toThrow(/bad-argument/);
    expect(() => ops.einsum('ij,jk->ik', x, engine().zeros([3, 2]))).toThrow(/2 elements along j/);
  });
});

it('std and norm have the gradient 0 where they are 0', async () => {
  const x = engine().tensor([0, 0, 0]).requiresGrad_();
  ops.add(x.std(), x.norm()).backward();
  expect(await x.grad!.array()).toEqual([0, 0, 0]);
});

it('ones, arange and split', async () => {
  expect(await engine().ones([2]).array()).toEqual([1, 1]);
  expect(await engine().arange(3).array()).toEqual([0, 1, 2]);
  expect(await engine().arange(5, 0, -2, 'i32').array()).toEqual([5, 3, 1]);
  expect(() => engine().arange(0, 5, -1)).toThrow(/bad-argument/);
  const parts = engine().arange(5).split(2);
  expect(await Promise.all(parts.map((part) => part.array()))).toEqual([[0, 1], [2, 3], [4]]);
  expect(() => engine().arange(5).split([2, 2])).toThrow(/bad-argument/);
});
