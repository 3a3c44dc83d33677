import { describe, expect, it } from 'vitest';
import * as ops from '../../engine/node.ts';
import { createEngine } from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import { binaryForward } from '../../kernels/binary/index.ts';
import type { BinaryName } from '../../kernels/binary/index.ts';
import { binaryReference } from '../../kernels/binary/reference.ts';
import { BROADCAST_CASES } from '../cases/elementwise.ts';
import { indices, product, ravel } from '../support/arrays.ts';
import { expectClose, uniform, worstRelative } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import { useEngine } from '../support/engine.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

const engine = useEngine();

/** A handful of roundings of 6e-8 each. */
const TOLERANCE = 1e-6;

/** How far a sum may be off goes by the sum of the magnitudes. */
function expectSum(found: ArrayLike<number>, expected: Float64Array, magnitudes: Float64Array, what: string): void {
  const differences = Array.from(found, (value, i) => value - expected[i]);
  expect(Math.hypot(...differences), what).toBeLessThanOrEqual(TOLERANCE * Math.hypot(...magnitudes));
}

// Operators differ in their formula alone: one of them meets every way of reading operands, the others a few.
const SOME = BROADCAST_CASES.filter((_, i) => [0, 3, 7, 9].includes(i));

/** Their left operand must be positive, and the right one away from zero. */
const POSITIVE: readonly string[] = ['div', 'pow'];
const NAMES = Object.keys(binaryReference) as BinaryName[];

describe.each(NAMES.filter((op) => !binaryReference[op].derivatives))('%s', (op) => {
  it.each(binaryForward.variants)('holds or does not, NaN included, variant %s', async (variant) => {
    const own = await createEngine({ variant });
    const values = [NaN, 1, -1, 0, -0, Infinity, -Infinity, 1 + 2 ** -23];
    const pairs = values.flatMap((a) => values.map((b) => [a, b]));
    const [a, b] = [0, 1].map((side) => own.tensor(pairs.map((pair) => pair[side])));
    const expected = pairs.map(([left, right]) => binaryReference[op].f(left, right));
    expect(Array.from(await ops[op](a, b).read())).toEqual(expected);
    own.close();
  });
});

describe.each(NAMES.flatMap((op) => (binaryReference[op].derivatives ? [op] : [])))('%s', (op) => {
  const { f } = binaryReference[op];
  const derivatives = binaryReference[op].derivatives!;
  const positive = POSITIVE.includes(op);
  const shapes = op === 'mul' ? BROADCAST_CASES : SOME;
  it.each(shapes.map(([a, b]) => ({ a, b })))('$a with $b', async ({ a, b }) => {
    const left = uniform(product(a), 1).map((x) => (positive ? x + 1.5 : x));
    const right = uniform(product(b), 2).map((x) => (positive ? x + Math.sign(x) * 0.5 : x));
    const { y, shape, dy, gradients } = await differentiate(
      engine(),
      [
        { shape: a, data: left },
        { shape: b, data: right },
      ],
      ops[op],
    );
    const expected = {
      y: new Float64Array(y.length),
      a: new Float64Array(left.length),
      b: new Float64Array(right.length),
    };
    const magnitudes = { a: new Float64Array(left.length), b: new Float64Array(right.length) };
    let i = 0;
    for (const index of indices(shape)) {
      const [at, bt] = [ravel(index, a), ravel(index, b)];
      expected.y[i] = f(left[at], right[bt]);
      const [da, db] = derivatives.map((derivative) => dy[i] * derivative(left[at], right[bt]));
      expected.a[at] += da;
      expected.b[bt] += db;
      magnitudes.a[at] += Math.abs(da);
      magnitudes.b[bt] += Math.abs(db);
      i++;
    }
    expectClose(y, expected.y, TOLERANCE, 'y');
    expectSum(gradients[0], expected.a, magnitudes.a, 'gradient of the left operand');
    expectSum(gradients[1], expected.b, magnitudes.b, 'gradient of the right operand');
  });

  it('a number on either side', async () => {
    const data = Float32Array.of(0.5, 2, 3, 1.25, 7);
    const left = await differentiate(engine(), [{ shape: [5], data }], (x) => ops[op](x, 2));
    expectClose(
      left.y,
      Array.from(data, (x) => f(x, 2)),
      TOLERANCE,
    );
    expectClose(
      left.gradients[0],
      Array.from(data, (x, i) => left.dy[i] * derivatives[0](x, 2)),
      TOLERANCE,
    );
    const right = await differentiate(engine(), [{ shape: [5], data }], (x) => ops[op](2, x));
    expectClose(
      right.y,
      Array.from(data, (x) => f(2, x)),
      TOLERANCE,
    );
    expectClose(
      right.gradients[0],
      Array.from(data, (x, i) => right.dy[i] * derivatives[1](2, x)),
      TOLERANCE,
    );
  });
});

describe.each(PROFILES)('broadcasting on $name', ({ claims, variant }) => {
  const other = useEngineAs(claims, variant);
  it('reads a row, a factor a sample and a strided operand alike', async () => {
    // Large enough to be split where bindings are small.
    const shape = [12, 40, 96];
    const x = uniform(product(shape), 3);
    for (const small of [[96], [12, 1, 1], [12, 1, 96], [40, 1]]) {
      const factor = uniform(product(small), 4);
      const result = await differentiate(
        other(),
        [
          { shape, data: x },
          { shape: small, data: factor },
        ],
        ops.mul,
      );
      const gradient = new Float64Array(factor.length);
      const y: number[] = [];
      for (const index of indices(shape)) {
        const at = ravel(index, small);
        gradient[at] += result.dy[y.length] * x[y.length];
        y.push(x[y.length] * factor[at]);
      }
      expectClose(result.y, y, TOLERANCE);
      expectClose(result.gradients[1], gradient, TOLERANCE);
    }
  });
});

describe('details of the operators of two operands', () => {
  const values = async (y: Tensor) => Array.from(await y.read());

  it('maximum and minimum propagate NaN and order infinities', async () => {
    const a = engine().tensor([NaN, 1, NaN, -Infinity, Infinity, -Infinity]);
    const b = engine().tensor([1, NaN, NaN, -Infinity, -Infinity, 2]);
    expect(await values(ops.maximum(a, b))).toEqual([NaN, NaN, NaN, -Infinity, Infinity, 2]);
    expect(await values(ops.minimum(a, b))).toEqual([NaN, NaN, NaN, -Infinity, -Infinity, -Infinity]);
  });

  it('a NaN with the sign bit set is a NaN too', async () => {
    const x = new Float32Array(new Uint32Array([0xffc00000, 0xff800001, 0x7fc00000]).buffer);
    const ones = engine().full([3], 1);
    for (const op of ['maximum', 'minimum', 'pow'] as const) {
      expect(await values(ops[op](engine().tensor(x), ones)), op).toEqual([NaN, NaN, NaN]);
    }
  });

  it('numbers that JSON cannot hold are different numbers', async () => {
    const x = engine().tensor([1, 2]);
    expect(await values(ops.add(x, Infinity))).toEqual([Infinity, Infinity]);
    expect(await values(ops.add(x, NaN))).toEqual([NaN, NaN]);
    expect(await values(ops.add(x, -Infinity))).toEqual([-Infinity, -Infinity]);
    expect(await values(ops.div(1, ops.mul(x, -0)))).toEqual([-Infinity, -Infinity]);
    expect(await values(engine().full([1], Infinity))).toEqual([Infinity]);
    expect(await values(engine().full([1], NaN))).toEqual([NaN]);
    expect(await values(ops.reciprocal(engine().full([1], -0)))).toEqual([-Infinity]);
  });

  it('pow has the special cases of C', async () => {
    const cases: [number, number, number][] = [
      [NaN, 0, 1],
      [1, NaN, 1],
      [1, Infinity, 1],
      [-1, Infinity, 1],
      [2, NaN, NaN],
      [NaN, 2, NaN],
      [0, 2, 0],
      [0, -1, Infinity],
      [-0, -1, -Infinity],
      [-0, -2, Infinity],
      [0, 0, 1],
      [-2, 3, -8],
      [-2, 2, 4],
      [-2, 0.5, NaN],
      [-8, 1 / 3, NaN],
      [Infinity, 2, Infinity],
      [Infinity, -2, 0],
      [-Infinity, 3, -Infinity],
      [-Infinity, 2, Infinity],
      [2, Infinity, Infinity],
      [2, -Infinity, 0],
      [0.5, Infinity, 0],
      [0.5, -Infinity, Infinity],
      [10, 39, Infinity],
      [10, -46, 0],
      [-10, 39, -Infinity],
      [2, 127, 2 ** 127],
      [2, -126, 2 ** -126],
      [3, 1, 3],
      [7, 2, 49],
    ];
    const base = engine().tensor(cases.map(([x]) => x));
    const exponent = engine().tensor(cases.map(([, y]) => y));
    const found = await values(ops.pow(base, exponent));
    expect(found.map((value) => (value === 0 ? 0 : value))).toEqual(cases.map(([, , expected]) => expected));
  });

  it('pow is within 4 ulp over the whole range of exponents', async () => {
    const n = 20_000;
    const base = uniform(n, 11).map((u) => 2 ** (u * 20));
    const exponent = uniform(n, 12).map((u, i) => (u * 120) / Math.log2(base[i]));
    const found = await values(ops.pow(engine().tensor(base), engine().tensor(exponent)));
    const expected = Array.from(base, (x, i) => Math.fround(x) ** Math.fround(exponent[i]));
    expect(worstRelative(found, expected)).toBeLessThan(4 * 2 ** -23);
  });

  it('an operand used twice gets both gradients', async () => {
    const data = Float32Array.of(1, -2, 3);
    const { dy, gradients } = await differentiate(engine(), [{ shape: [3], data }], (x) => ops.mul(x, x));
    expectClose(
      gradients[0],
      Array.from(data, (x, i) => 2 * x * dy[i]),
      TOLERANCE,
    );
  });

  it('only the operand that asks for a gradient gets one', async () => {
    for (const [op, expected] of [
      ['mul', 4],
      ['div', 1 / 4],
      ['sub', 1],
      ['pow', 4 * 3 ** 3],
    ] as const) {
      const x = engine().tensor([3]).requiresGrad_();
      const constant = engine().tensor([4]);
      ops[op](x, constant).backward();
      expectClose(await x.grad!.read(), [expected], TOLERANCE, op);
      expect(constant.grad).toBeNull();
    }
  });

  it('shapes that do not broadcast, two numbers, and integers are errors', () => {
    const x = engine().zeros([2, 3]);
    expect(() => ops.add(x, engine().zeros([2]))).toThrow(/shape-mismatch/);
    expect(() => ops.mul(2, 3)).toThrow(/bad-argument/);
    expect(() => ops.add(x, engine().tensor([1], [1], 'i32'))).toThrow(/dtype-mismatch/);
  });
});
