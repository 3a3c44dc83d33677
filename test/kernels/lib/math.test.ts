import { describe, expect, test } from 'vitest';
import { expWgsl, expm1Wgsl, isNanWgsl, log1pWgsl, logWgsl, powWgsl, tanhWgsl } from '../../../kernels/lib/math.ts';
import { geluWgsl } from '../../../kernels/gelu/index.ts';
import { elementwise } from '../../../kernels/lib/elementwise.ts';
import { input, output } from '../../../kernels/lib/kernel.ts';
import type { Kernel } from '../../../kernels/lib/kernel.ts';
import { useEngine } from '../../support/engine.ts';
import { erfc } from '../../../kernels/lib/reference-math.ts';

const engine = useEngine();

/** One function of lib/math.ts over an array, through the vector or the scalar instance. */
const apply: Kernel<{ n: number; functions: string; call: string }> = ({ n, functions, call }, device) =>
  elementwise(
    {
      name: 'test.math',
      n,
      bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
      functions,
      body: `let v = x[i]; y[i] = ${call};`,
      flopsPerElement: 1,
    },
    device,
  );

async function evaluate(functions: string, name: string, x: Float32Array, scalar = false): Promise<ArrayLike<number>> {
  const call = scalar ? `vec4f(${['x', 'y', 'z', 'w'].map((c) => `${name}(v.${c})`).join(', ')})` : `${name}4(v)`;
  const result = engine().scope(() => {
    const y = engine().empty([x.length]);
    engine().run('test', apply, { n: x.length, functions, call }, { x: engine().tensor(x), y });
    return y.read();
  });
  return await result;
}

/** Both signs of an even ladder of magnitudes. */
const ladder = (low: number, high: number, n: number, signed = true): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => {
    const magnitude = low * Math.pow(high / low, i / (n - 1));
    return signed && i % 2 === 1 ? -magnitude : magnitude;
  });

function worst(x: Float32Array, found: ArrayLike<number>, reference: (x: number) => number): number {
  let largest = 0;
  x.forEach((value, i) => {
    const expected = reference(value);
    const error = Math.abs(found[i] - expected) / Math.max(Math.abs(expected), 2 ** -126);
    // A NaN must not lose every comparison.
    if (!(error <= largest)) largest = error;
  });
  return largest;
}

/** One unit in the last place is at most this, relatively. */
const ULP = 2 ** -23;

describe('elementary functions in WGSL', () => {
  for (const scalar of [false, true]) {
    const kind = scalar ? 'scalar' : 'vec4';
    test(`tanh, ${kind}: within 4 ulp`, async () => {
      const x = ladder(1e-30, 1e4, 40_001);
      expect(worst(x, await evaluate(tanhWgsl, 'accurate_tanh', x, scalar), Math.tanh)).toBeLessThan(4 * ULP);
    });
    test(`exp, ${kind}: within 2 ulp`, async () => {
      const x = ladder(1e-9, 87.3, 40_001);
      expect(worst(x, await evaluate(expWgsl, 'accurate_exp', x, scalar), Math.exp)).toBeLessThan(2 * ULP);
    });
    test(`log, ${kind}: within 2 ulp, near 1 too`, async () => {
      const x = Float32Array.from([
        ...ladder(1e-38, 3e38, 20_001, false),
        ...ladder(1e-7, 0.5, 20_001).map((d) => 1 + d),
      ]);
      expect(worst(x, await evaluate(logWgsl, 'accurate_log', x, scalar), Math.log)).toBeLessThan(2 * ULP);
    });
  }

  test('exp - 1: within 3 ulp up to 0.5, near 0 too', async () => {
    const x = Float32Array.from([...ladder(1e-30, 0.5, 40_001), ...ladder(0.5, 80, 10_001, false).map((d) => -d)]);
    expect(worst(x, await evaluate(expWgsl + expm1Wgsl, 'expm1_', x), Math.expm1)).toBeLessThan(3 * ULP);
  });

  test('log(1 + e): within 3 ulp for e from 0 to 1', async () => {
    const x = Float32Array.from([...ladder(1e-30, 0.1, 20_001, false), ...ladder(0.1, 1, 20_001, false)]);
    expect(worst(x, await evaluate(log1pWgsl, 'log1p', x), Math.log1p)).toBeLessThan(3 * ULP);
  });

  test.each([0.5, -1.5, 3, 10.1])('x to the power of %f: within 4 ulp', async (exponent) => {
    const x = ladder(1e-3, 1e3, 40_001, false);
    const power = `fn power4(x: vec4f) -> vec4f { return accurate_pow4(x, vec4f(${exponent})); }`;
    const rounded = Math.fround(exponent);
    const found = await evaluate(powWgsl + power, 'power', x);
    expect(worst(x, found, (value) => value ** rounded)).toBeLessThan(4 * ULP);
  });

  test("GELU's gate: the normal distribution's cumulative function, whose lower tail keeps its digits", async () => {
    const x = Float32Array.from([...ladder(1e-30, 30, 20_001), ...ladder(0.5, 5.5, 20_001)]);
    const found = await evaluate(`${geluWgsl('none')} fn phi4(x: vec4f) -> vec4f { return gate(x); }`, 'phi', x);
    x.forEach((value, i) => {
      const phi = 0.5 * erfc(-value / Math.SQRT2);
      // The polynomial's 2.1e-8, two roundings of a number below 1, and of an exponent of up to 18 in the tail.
      expect(Math.abs(found[i] - phi), `at ${value}`).toBeLessThan(1.5e-7);
      if (value > -5) expect(Math.abs(found[i] / phi - 1), `at ${value}`).toBeLessThan(1e-5);
    });
  });

  test('log of subnormal numbers', async () => {
    const x = Float32Array.from([2 ** -149, 2 ** -140, 1e-40, 1.17e-38]);
    expect(worst(x, await evaluate(logWgsl, 'accurate_log', x), Math.log)).toBeLessThan(2 * ULP);
  });

  test('limits and non-finite values', async () => {
    const x = Float32Array.from([NaN, Infinity, -Infinity, 0, -0, 89, -110, -1]);
    // The sign of a zero is not compared.
    const values = async (functions: string, name: string) =>
      Array.from(await evaluate(functions, name, x), (y) => (y === 0 ? 0 : y));
    expect(await values(tanhWgsl, 'accurate_tanh')).toEqual([
      NaN,
      1,
      -1,
      0,
      0,
      1,
      -1,
      expect.closeTo(Math.tanh(-1), 6),
    ]);
    expect(await values(expWgsl, 'accurate_exp')).toEqual([
      NaN,
      Infinity,
      0,
      1,
      1,
      Infinity,
      0,
      expect.closeTo(Math.exp(-1), 6),
    ]);
    expect(await values(logWgsl, 'accurate_log')).toEqual([
      NaN,
      Infinity,
      NaN,
      -Infinity,
      -Infinity,
      expect.closeTo(Math.log(89), 5),
      NaN,
      NaN,
    ]);
  });

  test('is_nan tells NaN of either sign from infinity', async () => {
    const x = new Float32Array(new Uint32Array([0x7fc00000, 0xffc00001, 0x7f800000, 0xff800000, 0, 0x3f800000]).buffer);
    const wgsl = `${isNanWgsl}
fn flag4(v: vec4f) -> vec4f { return select(vec4f(0.0), vec4f(1.0), is_nan4(v)); }
fn flag(v: f32) -> f32 { return select(0.0, 1.0, is_nan(v)); }`;
    for (const scalar of [false, true]) {
      expect(Array.from(await evaluate(wgsl, 'flag', x, scalar))).toEqual([1, 1, 0, 0, 0, 0]);
    }
  });
});
