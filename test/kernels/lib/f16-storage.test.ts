/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { accumulate } from '../../../kernels/accumulate/index.ts';
import {
  attentionForward,
  attentionKeyValueGradient,
  attentionQueryGradient,
} from '../../../kernels/attention/index.ts';
import { geluBackward, geluForward } from '../../../kernels/gelu/index.ts';
import { inF16 } from '../../../kernels/lib/f16-storage.ts';
import { input, launch, output } from '../../../kernels/lib/kernel.ts';
import type { Kernel } from '../../../kernels/lib/kernel.ts';
import { layerNormBackward } from '../../../kernels/layer-norm/index.ts';
import { matmul, packAlongK } from '../../../kernels/matmul/index.ts';
import { columnSum } from '../../../kernels/reduce/index.ts';
import { attentionReference } from '../../../kernels/attention/reference.ts';
import { expectClose, uniform } from '../../support/close.ts';
import { useEngine } from '../../support/engine.ts';
import { erf } from '../../../kernels/lib/reference-math.ts';
import { HALF_UNIT, f16Tensor, f16Tests, numbers, rounded } from '../../support/f16.ts';
import { matmulReference } from '../../../kernels/matmul/reference.ts';

/** Those that every device has the functions for; the other one is tested in matmul-subgroup-matrix.test.ts. */
type PlainVariant = 'general' | 'subgroup_rows' | 'workgroup' | 'workgroup_large' | 'plain';

const engine = useEngine();
const withF16 = f16Tests(engine);

const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));
const slope = (x: number): number =>
  0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);

/**
 * Operands are exact in f16 and sums run in f32, so that an f32 result is as good as that of an f32 product, and an f16
 * result is one rounding away (two where a variant keeps what it has in y for a moment).
 */
const F32 = 2e-6;
const F16 = HALF_UNIT;

interface Options {
  y?: 'f16' | 'f32';
  bias?: boolean;
  residual?: boolean;
  gelu?: boolean;
  geluGradient?: boolean;
  rowSums?: boolean;
}

async function check(
  variant: PlainVariant,
  [m, k, n]: readonly [number, number, number],
  [transposeA, transposeB]: readonly [boolean, boolean],
  options: Options = {},
): Promise<void> {
  const { y: dtype = 'f16', rowSums = false, ...epilogue } = options;
  const shapes = { a: transposeA ? [k, m] : [m, k], b: transposeB ? [n, k] : [k, n] };
  const [a, b] = [rounded(uniform(m * k, 1)), rounded(uniform(n * k, 2))];
  const [bias, residual, pre] = [uniform(n, 3), uniform(m * n, 4), rounded(uniform(m * n, 5, 3))];
  const problem = {
    m,
    n,
    k,
    a: { ld: transposeA ? m : k, transposed: transposeA },
    b: { ld: transposeB ? k : n, transposed: transposeB },
    y: { ld: n },
    epilogue,
    rowSums,
    f16: (['a', 'b', 'pre', 'activated', 'y'] as const).filter((name) => name !== 'y' || dtype === 'f16'),
    variant,
  };
  const y = engine().empty([m, n], dtype);
  const activated = engine().empty([m, n], 'f16');
  const sums = engine().zeros([m]);
  engine().run('matmul', matmul, problem, {
    a: f16Tensor(engine(), a, shapes.a),
    b: f16Tensor(engine(), b, shapes.b),
    y,
    bias: engine().tensor(bias),
    residual: engine().tensor(residual, [m, n]),
    pre: f16Tensor(engine(), pre, [m, n]),
    activated,
    row_sums: sums,
  });
  const expected = matmulReference({ ...shapes, transposeA, transposeB }, a, b).values.map((value, i) => {
    let v = value;
    if (epilogue.bias) v += bias[i % n];
    if (epilogue.residual) v += residual[i];
    if (epilogue.geluGradient) v *= slope(pre[i]);
    return v;
  });
  const what = `${variant} ${m}x${k}x${n} ${JSON.stringify(options)}`;
  expectClose(await numbers(y), expected, dtype === 'f16' ? F16 : F32, what);
  const given = Float64Array.from(epilogue.geluGradient ? pre : expected, gelu);
  if (epilogue.gelu) expectClose(await numbers(activated), given, 2 * F16, `${what} activated`);
  if (!rowSums) return;
  const rows = new Float64Array(m);
  for (let i = 0; i < m; i++) for (let l = 0; l < k; l++) rows[i] += a[transposeA ? l * m + i : i * k + l];
  expectClose(await numbers(sums), rows, 1e-5, `${what} row sums`);
}

const SIZES: Record<PlainVariant, readonly (readonly [number, number, number])[]> = {
  plain: [
    [17, 7, 66],
    [33, 31, 9],
  ],
  general: [
    [1, 1, 1],
    [17, 7, 66],
    [33, 31, 9],
  ],
  subgroup_rows: [
    [17, 7, 66],
    [68, 200, 76],
    [68, 201, 76],
    [100, 28, 132],
  ],
  // A software adapter takes seconds to compile each of these.
  workgroup: [[65, 27, 63]],
  workgroup_large: [[131, 36, 260]],
};
const LAYOUTS = [
  [false, true],
  [false, false],
  [true, false],
  [true, true],
] as const;

describe.each(Object.keys(SIZES) as PlainVariant[])('products of f16 operands, variant %s', (variant) => {
  const sizes = SIZES[variant];
  for (const layout of LAYOUTS.slice(0, variant === 'workgroup_large' ? 1 : 4)) {
    withF16(`transposed ${Number(layout[0])}${Number(layout[1])}`, async () => {
      for (const size of sizes) await check(variant, size, layout);
    });
  }
  if (variant === 'workgroup_large') return;
  // Whole vectors, for the epilogue's vector form.
  const several = variant === 'workgroup' ? ([[100, 28, 132]] as const) : sizes.slice(-2);
  withF16('f32 results, with bias and residual', async () => {
    for (const size of several) await check(variant, size, [false, true], { y: 'f32', bias: true, residual: true });
  });
  withF16('GELU and its derivative', async () => {
    for (const size of several) {
      if (variant !== 'workgroup') await check(variant, size, [false, true], { bias: true, gelu: true });
      await check(variant, size, [false, true], { geluGradient: true, gelu: variant !== 'workgroup' });
    }
  });
  if (variant === 'workgroup') return;
  withF16('row sums in f32', async () => {
    for (const size of several) await check(variant, size, [true, false], { y: 'f32', rowSums: true });
  });
});

describe('other kernels on f16', () => {
  withF16('packAlongK moves bits, in vectors and one by one', async () => {
    for (const [n, k] of [
      [20, 12],
      [7, 5],
    ]) {
      const b = rounded(uniform(n * k, 1));
      const length = 4 * Math.ceil(k / 4);
      const laid = engine().empty([n, length], 'f16');
      const operand = { ld: n, transposed: false };
      engine().run(
        'lay',
        packAlongK,
        { of: 'b', count: n, k, operand, f16: true },
        { x: f16Tensor(engine(), b, [k, n]), y: laid },
      );
      const expected = Array.from({ length: n * length }, (_, i) => {
        const [j, l] = [Math.floor(i / length), i % length];
        return l < k ? b[l * n + j] : 0;
      });
      expect(Array.from(await numbers(laid))).toEqual(expected);
    }
  });

  withF16('GELU, its derivative and sums of gradients', async () => {
    const n = 1001;
    const [x, dy] = [rounded(uniform(n, 1, 4)), rounded(uniform(n, 2))];
    const [input0, up] = [f16Tensor(engine(), x, [n]), f16Tensor(engine(), dy, [n])];
    const [y, dx] = [engine().empty([n], 'f16'), engine().empty([n], 'f16')];
    const problem = { n, approximate: 'none', f16: true } as const;
    engine().run('gelu', geluForward, problem, { x: input0, y });
    engine().run('gelu', geluBackward, problem, { x: input0, dy: up, dx });
    expectClose(await numbers(y), Float64Array.from(x, gelu), F16);
    expectClose(
      await numbers(dx),
      Float64Array.from(x, (v, i) => dy[i] * slope(v)),
      F16,
    );
    engine().run('accumulate', accumulate, { n, f16: true }, { total: up, source: input0 });
    expect(await numbers(up)).toEqual(rounded(Float64Array.from(x, (v, i) => v + dy[i])));
  });

  withF16('the gradient of layer norm, in f16 beside f32, by subgroups and workgroups', async () => {
    const { profile } = engine();
    for (const subgroupSize of new Set([profile.subgroupSize, 0])) {
      for (const width of [12, 7]) {
        const rows = 5;
        const problem = {
          rows,
          width,
          weight: false,
          pending: false,
          dx: true,
          affine: false,
          f16: true,
          copy: 'f16' as const,
        };
        const backward: Kernel<typeof problem> = (own, device) =>
          layerNormBackward(own, { ...device, cpu: false, subgroupSize });
        const [x, up] = [uniform(rows * width, 1), rounded(uniform(rows * width, 2))];
        // Statistics may be anything: the formula is that of layer-norm.
        const stats = Float32Array.from({ length: 2 * rows }, (_, i) => (i % 2 === 0 ? 0.1 : 1.5));
        const [dx, half] = [engine().empty([rows, width]), engine().empty([rows, width], 'f16')];
        engine().run('layerNorm', backward, problem, {
          x: engine().tensor(x, [rows, width]),
          stats: engine().tensor(stats, [rows, 2]),
          dy: f16Tensor(engine(), up, [rows, width]),
          dx,
          copy: half,
        });
        const expected = Float64Array.from(x, (value, i) => {
          const columns = Array.from({ length: width }, (_, c) => i - (i % width) + c);
          const h = (j: number): number => (x[j] - 0.1) * 1.5;
          const mean = (of: (j: number) => number): number => columns.reduce((s, j) => s + of(j), 0) / width;
          return 1.5 * (up[i] - mean((j) => up[j]) - (value - 0.1) * 1.5 * mean((j) => up[j] * h(j)));
        });
        expectClose(await numbers(dx), expected, F32, 'dx');
        expectClose(await numbers(half), expected, F16, 'dx in f16');
      }
    }
  });

  withF16('column sums in f32', async () => {
    for (const [rows, columns] of [
      [300, 12],
      [70, 5],
      [2000, 1],
    ]) {
      const x = rounded(uniform(rows * columns, 3));
      const problem = { rows, columns, f16: true };
      const y = engine().empty([columns]);
      engine().run('sum', columnSum, problem, { x: f16Tensor(engine(), x, [rows, columns]), y });
      const expected = Array.from({ length: columns }, (_, j) =>
        Array.from({ length: rows }, (_unused, i) => x[i * columns + j]).reduce((a, b) => a + b, 0),
      );
      // Sums of both signs cancel: the error is relative to the terms, of which the root of their number remains.
      expectClose(await numbers(y), expected, 1e-5);
    }
  });

  describe.each(['subgroup', 'workgroup', 'workgroup_pairs', 'plain'])('attention, variant %s', (variant) => {
    withF16('forward and gradients', async () => {
      for (const { tokens, width } of [
        { tokens: 19, width: 8 },
        { tokens: 66, width: variant === 'workgroup_pairs' ? 6 : 5 },
      ]) {
        const [batch, heads] = [2, 3];
        const problem = { batch, tokens, heads, width };
        const own = { ...problem, variant, f16: true };
        const qkv = rounded(uniform(batch * tokens * 3 * heads * width, 1));
        const g = rounded(uniform(batch * tokens * heads * width, 2));
        const shape = [batch, tokens, 3 * heads * width];
        const x = f16Tensor(engine(), qkv, shape);
        const dy = f16Tensor(engine(), g, [batch, tokens, heads * width]);
        const y = engine().empty([batch, tokens, heads * width], 'f16');
        const stats = engine().empty([batch, heads, tokens, 2]);
        const delta = engine().empty([batch, heads, tokens]);
        const dqkv = engine().empty(shape, 'f16');
        engine().run('attention', attentionForward, own, { qkv: x, y, stats });
        engine().run('attention', attentionQueryGradient, own, { qkv: x, y, dy, stats, dqkv, delta });
        engine().run('attention', attentionKeyValueGradient, own, { qkv: x, dy, stats, delta, dqkv });
        const expected = attentionReference(problem, qkv, g);
        expectClose(await numbers(y), expected.y, F16, 'y');
        // delta_i = dy_i . y_i is of rounded y, and terms of dq and dk cancel: one more rounding of terms as large.
        expectClose(await numbers(dqkv), expected.dqkv, 2 * F16, 'dqkv');
      }
    });
  });
});

describe('inF16', () => {
  const kernel = (wgsl: string) =>
    launch({
      name: 'k',
      bindings: [input('x', 'vec4f'), input('z'), output('y', 'vec4f')],
      wgsl,
      grid: [1, 1, 1],
      cost: { flops: 0, bytes: 0 },
    });

  it('converts where arrays are read and written, and nowhere else', () => {
    const [{ code, name, bindings }] = inF16(
      [kernel('let s = max_x[1] + at.x; y[x[i].x] = x[z[2]] * 2.0; y[j] += own[x[0]]; let b = y[i] == x[j];')],
      ['x', 'y'],
    );
    expect(name).toBe('k_f16');
    expect(bindings.map(({ type }) => type)).toEqual(['array<vec4h>', 'array<f32>', 'array<vec4h>']);
    expect(code.split('\n')[0]).toBe('enable f16;');
    expect(code).toContain('var<storage, read> x: array<vec4h>;');
    expect(code).toContain(
      'let s = max_x[1] + at.x; y[vec4f(x[i]).x] = vec4h(vec4f(x[z[2]]) * 2.0); ' +
        'y[j] = vec4h(vec4f(y[j]) + (own[vec4f(x[0])])); let b = vec4f(y[i]) == vec4f(x[j]);',
    );
  });

  it('leaves launches without such bindings alone, and refuses to write parts of vectors', () => {
    const one = kernel('y[0] = x[0];');
    expect(inF16([one], ['qkv'])).toEqual([one]);
    expect(inF16([one], [])).toEqual([one]);
    expect(() => inF16([kernel('y[0].x = 1.0;')], ['y'])).toThrow(/bad-argument/);
    expect(() => inF16([kernel('y[0 = 1.0;')], ['y'])).toThrow(/bad-argument/);
  });
});
