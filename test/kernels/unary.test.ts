/** ops/golden-ops.test.ts compares values and gradients with PyTorch. Here is each variant, and what that test does not see. */
import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { unaryForward, unaryFormulas } from '../../kernels/unary/index.ts';
import type { UnaryName } from '../../kernels/unary/index.ts';
import { unaryReference } from '../../kernels/unary/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { goldenOpCases } from '../support/golden-ops.ts';

const engine = useEngine();
const golden = goldenOpCases();

/** They are not defined for negative numbers, or not at zero. */
const POSITIVE: readonly UnaryName[] = ['log', 'sqrt', 'rsqrt', 'reciprocal'];

describe.each(unaryForward.variants)('variant %s', (variant) => {
  const own = useEngine({ variant });

  it.each(Object.keys(unaryFormulas) as UnaryName[])('%s and its gradient follow the formula', async (op) => {
    const data = uniform(1030, 1, 4).map((x) => (POSITIVE.includes(op) ? Math.abs(x) + 0.1 : x));
    const [{ attrs }] = golden.get(op)!;
    const parameters = Object.values(attrs) as number[];
    const operator = ops[op] as (x: ops.Tensor, ...parameters: unknown[]) => ops.Tensor;
    const operand = { shape: [data.length], data };
    const { y, dy, gradients } = await differentiate(own(), [operand], (x) => operator(x, ...parameters));
    const { f, derivative } = unaryReference[op];
    // A few roundings of 6e-8, of results and of what they are made of.
    expectClose(
      y,
      Array.from(data, (x) => f(x, ...parameters)),
      5e-7,
      'y',
    );
    expectClose(
      gradients[0],
      Array.from(data, (x, i) => dy[i] * derivative(x, ...parameters)),
      5e-7,
      'gradient',
    );
  });

  it.each(Object.keys(unaryFormulas) as UnaryName[])(
    '%s is at NaN, infinity, -infinity, 0 and -1 what PyTorch says',
    async (op) => {
      const [{ special, attrs }] = golden.get(op)!;
      const operator = ops[op] as (x: ops.Tensor, ...parameters: unknown[]) => ops.Tensor;
      const parameters: unknown[] = Object.values(attrs);
      const y = await operator(own().tensor([NaN, Infinity, -Infinity, 0, -1]), ...parameters).read();
      const expected = special!
        .map(Number)
        .map((value) => (Number.isFinite(value) ? (expect.closeTo(value, 6) as number) : value));
      // The sign of a zero is not compared.
      expect(Array.from(y, (value) => (value === 0 ? 0 : value))).toEqual(expected);
    },
  );
});

it('a NaN with the sign bit set is a NaN too', async () => {
  const x = new Float32Array(new Uint32Array([0xffc00000, 0xff800001, 0x7fc00000]).buffer);
  for (const op of ['relu', 'exp', 'log', 'tanh', 'sigmoid', 'sin', 'clamp', 'hardswish', 'softplus'] as const) {
    expect(Array.from(await ops[op](engine().tensor(x)).read()), op).toEqual([NaN, NaN, NaN]);
  }
});

it('relu passes the gradient where it is NaN, and none at zero', async () => {
  const ones = new Float32Array(4).fill(1);
  const { gradients } = await differentiate(engine(), [{ shape: [4], data: [NaN, 0, -0, 2] }], ops.relu, ones);
  expect(Array.from(gradients[0])).toEqual([1, 0, 0, 1]);
});

it('integers, and parameters that are no numbers, are errors', () => {
  expect(() => ops.exp(engine().tensor([1], [1], 'i32'))).toThrow(/dtype-mismatch/);
  expect(() => ops.clamp(engine().tensor([1]), NaN)).toThrow(/bad-argument/);
});
