import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { UNARY_CASES, UNARY_SHAPES } from '../cases/elementwise.ts';
import type { UnaryCase } from '../cases/elementwise.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform, worstRelative } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

/** A handful of roundings of 6e-8 each. */
const TOLERANCE = 1e-6;

/** n points of the case's range. */
function points({ from, to, positive }: UnaryCase, n: number): Float32Array {
  return uniform(n, 7).map((u) => {
    const t = (u + 1) / 2;
    return positive ? from * (to / from) ** t : from + (to - from) * t;
  });
}

describe.each(UNARY_CASES)('$op', (c) => {
  it.each(UNARY_SHAPES.map((shape) => ({ shape })))('forward and backward of $shape', async ({ shape }) => {
    const data = points(c, product(shape));
    const result = await differentiate(engine(), [{ shape, data }], ops[c.op]);
    expect(result.shape).toEqual(shape);
    expect(worstRelative(result.y, Array.from(data, c.f))).toBeLessThan(TOLERANCE);
    const expected = Array.from(data, (x, i) => result.dy[i] * c.derivative(x));
    // 1 - y and 1 - y^2 keep the absolute precision of y, not the relative one.
    if (c.op === 'sigmoid' || c.op === 'tanh' || c.op === 'silu') expectClose(result.gradients[0], expected, TOLERANCE);
    else expect(worstRelative(result.gradients[0], expected)).toBeLessThan(TOLERANCE);
  });

  it('non-finite values, zero and what lies outside of the domain', async () => {
    const y = await ops[c.op](engine().tensor([NaN, Infinity, -Infinity, 0, -1])).read();
    // The sign of a zero is not compared.
    const expected = c.special.map((value) => (Number.isFinite(value) ? expect.closeTo(value, 6) : value) as number);
    expect(Array.from(y, (value) => (value === 0 ? 0 : value))).toEqual(expected);
  });
});

it('a NaN with the sign bit set is a NaN too', async () => {
  const x = new Float32Array(new Uint32Array([0xffc00000, 0xff800001, 0x7fc00000]).buffer);
  for (const op of ['relu', 'exp', 'log', 'tanh', 'sigmoid'] as const) {
    expect(Array.from(await ops[op](engine().tensor(x)).read()), op).toEqual([NaN, NaN, NaN]);
  }
});

it('relu passes the gradient where it is NaN, and none at zero', async () => {
  const ones = new Float32Array(4).fill(1);
  const { gradients } = await differentiate(engine(), [{ shape: [4], data: [NaN, 0, -0, 2] }], ops.relu, ones);
  expect(Array.from(gradients[0])).toEqual([1, 0, 0, 1]);
});

// Operators differ in their formula alone: one of them meets every way of reading operands, the others a few.

it('integers are an error', () => {
  expect(() => ops.exp(engine().tensor([1], [1], 'i32'))).toThrow(/dtype-mismatch/);
});
