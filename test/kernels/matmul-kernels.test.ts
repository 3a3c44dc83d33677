/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { matmul } from '../../kernels/matmul/index.ts';
import type { Epilogue, MatmulProblem } from '../../kernels/matmul/index.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { erf } from '../../kernels/lib/reference-math.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { matmulReference } from '../../kernels/matmul/reference.ts';

const engine = useEngine();

/** Sizes around the edges of every tile; the second list is of multiples of 4, for variants that load vectors. */
const ODD = [
  [1, 1, 1],
  [2, 3, 5],
  [17, 7, 66],
  [33, 31, 9],
  [65, 127, 63],
  [197, 64, 197],
] as const;
const VECTORS = [
  [4, 4, 4],
  [8, 12, 32],
  [16, 8, 36],
  [28, 20, 44],
  [36, 64, 68],
  [100, 28, 132],
  [196, 64, 196],
] as const;

type Size = readonly [number, number, number];
const VARIANTS = {
  general: ODD,
  plain: ODD,
  subgroup_rows: [...ODD, [34, 36, 29], ...VECTORS, [68, 200, 76], [68, 201, 76]],
  // A software adapter takes seconds to compile each of these: one size without whole vectors, and one with.
  workgroup: [
    [65, 127, 63],
    [100, 28, 132],
  ],
  workgroup_large: [[131, 36, 260]],
} satisfies Record<string, readonly Size[]>;
/** Those that every device has the functions for; the other one is tested in matmul-subgroup-matrix.test.ts. */
type VariantName = keyof typeof VARIANTS;

const LAYOUTS = [
  [false, true],
  [false, false],
  [true, false],
  [true, true],
] as const;
/** A software adapter takes long to compile large tiles. */
const layoutsOf = (variant: VariantName) => LAYOUTS.slice(0, variant === 'workgroup_large' ? 1 : 4);

const EPILOGUES: [string, Epilogue, number][] = [
  ['adds bias and residual', { bias: true, residual: true }, 0.5],
  ['scales rows before it adds the residual', { bias: true, rowScale: true, residual: true }, 0.5],
  ['keeps what GELU was applied to', { bias: true, gelu: true }, 0.25],
  ["multiplies by GELU's derivative", { geluGradient: true }, 1],
  ['applies GELU anew to what its derivative is taken of', { geluGradient: true, gelu: true }, 1],
  ['adds to what y holds', { accumulate: true }, 1],
];
/** The same in three products: a software adapter compiles a large tile for ten seconds and more. */
const JOINED: typeof EPILOGUES = [
  [
    'adds bias, scales rows, adds residual, and keeps what GELU was applied to',
    { bias: true, rowScale: true, residual: true, gelu: true },
    0.5,
  ],
  ["multiplies by GELU's derivative, and applies GELU anew", { geluGradient: true, gelu: true }, 0.25],
  ['adds to what y holds', { accumulate: true }, 1],
];

const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));
const geluGradient = (x: number): number =>
  0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);

/** One product with everything an epilogue can do; the expectation in float64. */
async function check(
  variant: string,
  [m, k, n]: Size,
  [transposeA, transposeB]: readonly [boolean, boolean],
  options: { epilogue?: Epilogue; rowSums?: boolean; scale?: number; batch?: number } = {},
) {
  const { epilogue = {}, rowSums = false, scale = 1, batch = 1 } = options;
  const lead = batch > 1 ? [batch] : [];
  const shapes = {
    a: [...lead, ...(transposeA ? [k, m] : [m, k])],
    b: [...lead, ...(transposeB ? [n, k] : [k, n])],
  };
  const size = batch * m * n;
  const a = uniform(batch * m * k, 1);
  const b = uniform(batch * n * k, 2);
  // What is scaled by zero is not looked at.
  const rowScale = uniform(m, 7).map((value, row) => (row % 3 === 1 ? 0 : value));
  for (let row = 1; epilogue.rowScale && row < m; row += 3) a[transposeA ? row : row * k] = Infinity;
  const [bias, residual, pre, before] = [uniform(n, 3), uniform(size, 4), uniform(size, 5, 3), uniform(size, 6)];
  const sumsBefore = uniform(m, 7);
  const problem = {
    m,
    n,
    k,
    a: { ld: transposeA ? m : k, transposed: transposeA },
    b: { ld: transposeB ? k : n, transposed: transposeB },
    y: { ld: n },
    batch: [{ size: batch, a: m * k, b: k * n, y: m * n }],
    scale,
    epilogue,
    rowSums,
    variant,
  };
  const y = engine().tensor(before, [...lead, m, n]);
  const activated = engine().zeros([...lead, m, n]);
  const sums = engine().tensor(sumsBefore);
  engine().run('matmul', matmul, problem, {
    a: engine().tensor(a, shapes.a),
    b: engine().tensor(b, shapes.b),
    y,
    bias: engine().tensor(bias),
    row_scale: engine().tensor(rowScale),
    residual: engine().tensor(residual, [...lead, m, n]),
    pre: engine().tensor(pre, [...lead, m, n]),
    activated,
    row_sums: sums,
  });
  const expected = matmulReference({ ...shapes, transposeA, transposeB }, a, b).values.map((value, i) => {
    let v = scale * value;
    if (epilogue.bias) v += bias[i % n];
    const factor = rowScale[Math.floor(i / n)];
    if (epilogue.rowScale) v = factor === 0 ? 0 : v * factor;
    if (epilogue.residual) v += residual[i];
    if (epilogue.geluGradient) v *= geluGradient(pre[i]);
    if (epilogue.accumulate) v += before[i];
    return v;
  });
  // f32 sums of up to a few hundred products: some 2^-24 times a small factor, relative to the norm.
  expectClose(await y.read(), expected, 2e-6, 'y');
  const given = epilogue.geluGradient ? pre : expected;
  if (epilogue.gelu) expectClose(await activated.read(), Float64Array.from(given, gelu), 2e-6, 'activated');
  if (rowSums) {
    const row = Float64Array.from(sumsBefore, (value) => (epilogue.accumulate ? value : 0));
    for (let i = 0; i < m; i++) for (let l = 0; l < k; l++) row[i] += a[transposeA ? l * m + i : i * k + l];
    // A sum of numbers of both signs may cancel: the error is relative to the terms, of which sqrt(k) remain.
    expectClose(await sums.read(), row, 1e-5, 'row sums');
  }
}

describe.each(Object.keys(VARIANTS) as VariantName[])('variant %s', (variant) => {
  for (const layout of layoutsOf(variant)) {
    const name = `transposed ${Number(layout[0])}${Number(layout[1])}`;
    it(`takes all sizes, ${name}`, async () => {
      // Of large tiles there is but this test.
      const rowSums = variant === 'workgroup_large';
      for (const size of VARIANTS[variant]) await check(variant, size, layout, { rowSums });
    });
  }

  if (variant === 'workgroup_large') return;
  const several = (VARIANTS[variant] as readonly Size[]).slice(variant === 'workgroup' ? -1 : -3);
  it.each(variant === 'workgroup' ? JOINED : EPILOGUES)('%s', async (_name, epilogue, scale) => {
    for (const size of several) await check(variant, size, [false, true], { epilogue, scale });
  });
  // Tiles: the gradient of a linear layer's weight, and rows along k.
  const layoutsOfSums = variant === 'workgroup' ? LAYOUTS.slice(1, 3) : LAYOUTS;
  it.each(layoutsOfSums)('sums the rows of a, transposed %s %s', async (...layout) => {
    for (const size of variant === 'workgroup' ? [VARIANTS.workgroup[0]] : several) {
      await check(variant, size, layout, { rowSums: true });
    }
  });
  it('adds the sums of rows to row sums', async () => {
    const epilogue = { accumulate: true };
    for (const size of several) await check(variant, size, [true, false], { epilogue, rowSums: true });
  });
  it('takes batches', async () => {
    for (const size of several) await check(variant, size, [false, true], { batch: 3 });
  });
  it('folds a grid of more workgroups than a dimension takes', () => {
    const problem = {
      m: 400,
      n: 400,
      k: 4,
      a: { ld: 4, transposed: false },
      b: { ld: 4, transposed: true },
      y: { ld: 400 },
      variant,
    };
    const [{ grid: flat }] = matmul(problem, engine().profile);
    // Two dimensions of this are just enough.
    const most = Math.ceil(Math.sqrt(flat[0]));
    const device: DeviceProfile = { ...engine().profile, maxWorkgroupsPerDimension: most };
    const [{ grid }] = matmul(problem, device);
    expect(Math.max(...grid)).toBeLessThanOrEqual(most);
    expect(grid[0] * grid[1]).toBeGreaterThanOrEqual(flat[0]);
  });
});

it('counts what its epilogue reads and writes', () => {
  const problem: MatmulProblem = {
    ...{ m: 64, n: 32, k: 16 },
    a: { ld: 16, transposed: false },
    b: { ld: 16, transposed: true },
    y: { ld: 32 },
  };
  const bytesOf = (more: Partial<MatmulProblem>): number => {
    const launches = matmul({ ...problem, ...more, variant: 'general' }, engine().profile);
    return launches.reduce((sum, { cost }) => sum + cost.bytes, 0);
  };
  const operands = 4 * (64 * 16 + 16 * 32);
  expect(bytesOf({})).toBe(operands + 4 * 64 * 32);
  expect(bytesOf({ epilogue: { bias: true, rowScale: true, residual: true } })).toBe(operands + 8 * 64 * 32);
  expect(bytesOf({ epilogue: { accumulate: true } })).toBe(operands + 8 * 64 * 32);
  const f16 = ['a', 'b', 'y', 'pre', 'activated'] as const;
  expect(bytesOf({ epilogue: { geluGradient: true, gelu: true }, f16 })).toBe(operands / 2 + 6 * 64 * 32);
});

describe('a folded grid', () => {
  it('computes the same', async () => {
    const [m, k, n] = [100, 20, 300];
    const [a, b] = [uniform(m * k, 1), uniform(k * n, 2)];
    const y = engine().empty([m, n]);
    const folded = (problem: MatmulProblem, device: DeviceProfile) =>
      matmul(problem, { ...device, maxWorkgroupsPerDimension: 5 });
    const problem = { m, n, k, a: { ld: k, transposed: false }, b: { ld: n, transposed: false }, y: { ld: n } };
    const variant = 'general';
    const operands = { a: engine().tensor(a, [m, k]), b: engine().tensor(b, [k, n]), y };
    engine().run('matmul', folded, { ...problem, variant }, operands);
    const { values } = matmulReference({ a: [m, k], b: [k, n] }, a, b);
    expectClose(await y.read(), values, 1e-6);
  });
});
