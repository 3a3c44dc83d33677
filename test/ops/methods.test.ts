import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { Tensor } from '../../engine/node.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

describe('operators as methods', () => {
  it('give what the functions give', async () => {
    const x = engine().tensor([0.5, 1, 2, 3, 0.25, 4], [2, 3]);
    const y = engine().tensor([1, 2, 0.5], [3]);
    const index = engine().tensor([1, 0], [2], 'i32');
    const square = engine().tensor([1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3]);
    const unary = [
      'neg',
      'exp',
      'log',
      'sqrt',
      'rsqrt',
      'reciprocal',
      'abs',
      'square',
      'relu',
      'sigmoid',
      'tanh',
      'silu',
      'gelu',
      'softmax',
      'logSoftmax',
      'sum',
      'mean',
      'amax',
      'argmax',
    ] as const;
    const binary = ['add', 'sub', 'mul', 'div', 'pow', 'maximum', 'minimum'] as const;
    const pairs: [Tensor, Tensor][] = [
      ...unary.map((name): [Tensor, Tensor] => [x[name](), ops[name](x)]),
      ...binary.map((name): [Tensor, Tensor] => [x[name](y), ops[name](x, y)]),
      ...binary.map((name): [Tensor, Tensor] => [x[name](2), ops[name](x, 2)]),
      [x.matmul(square), ops.matmul(x, square)],
      [x.matmul(square, { transposeB: true }), ops.matmul(x, square, { transposeB: true })],
      [x.sum(0, true), ops.sum(x, 0, true)],
      [x.softmax(0), ops.softmax(x, 0)],
      [x.reshape(3, -1), ops.reshape(x, [3, -1])],
      [x.reshape([6]), ops.reshape(x, [6])],
      [x.permute(1, 0), ops.permute(x, [1, 0])],
      [x.expand([4, -1, -1]), ops.expand(x, [4, 2, 3])],
      [x.transpose(0, 1), ops.transpose(x, 0, 1)],
      [x.slice(1, 1), ops.slice(x, 1, 1, 3)],
      [x.flip(0), ops.flip(x, 0)],
      [x.pad([1, 0, 0, 1]), ops.pad(x, [1, 0, 0, 1])],
      [x.indexSelect(0, index), ops.indexSelect(x, 0, index)],
      [x.to('i32'), ops.to(x, 'i32')],
    ];
    for (const [method, operator] of pairs) {
      expect(method.shape).toEqual(operator.shape);
      expect(method.dtype).toBe(operator.dtype);
      expect(await method.read()).toEqual(await operator.read());
    }
  });

  it('differentiate a chain', async () => {
    const x = engine().tensor([1, -2, 3]).requiresGrad_();
    // d/dx sum((2 x + 1)^2) = 4 (2 x + 1).
    x.mul(2).add(1).square().sum().backward();
    expect(Array.from(await x.grad!.read())).toEqual([12, -12, 28]);
  });

  it('do not show among the fields of a tensor', () => {
    expect(Object.keys(Tensor.prototype)).toEqual([]);
  });
});
