import { beforeEach, describe, expect, it } from 'vitest';
import { to } from '../../engine/node.ts';
import { matmul } from '../../kernels/matmul/index.ts';
import type { Epilogue, MatmulProblem } from '../../kernels/matmul/index.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { HALF_UNIT, f16Tensor, numbers, rounded } from '../support/f16.ts';
import { matmulReference } from '../../kernels/matmul/reference.ts';
import {
  emulated,
  expectCompiles,
  matricesOf,
  MATRIX_GPU,
  nullDevice,
  skipUnlessEmulated,
} from '../support/subgroup-matrix.ts';

const engine = useEngine();

const LAYOUTS = [
  [false, true],
  [false, false],
  [true, false],
  [true, true],
] as const;

interface Options {
  epilogue?: Epilogue;
  y?: 'f16' | 'f32';
  batch?: number;
  rowSums?: boolean;
  variant?: string;
}

function problemOf(
  [m, k, n]: readonly [number, number, number],
  [transposeA, transposeB]: readonly [boolean, boolean],
  { epilogue = {}, y = 'f16', batch = 1, rowSums = false }: Options = {},
): MatmulProblem {
  return {
    m,
    n,
    k,
    a: { ld: transposeA ? m : k, transposed: transposeA },
    b: { ld: transposeB ? k : n, transposed: transposeB },
    y: { ld: n },
    batch: [{ size: batch, a: m * k, b: k * n, y: m * n }],
    epilogue,
    rowSums,
    f16: ['a', 'b', 'pre', 'activated', ...(y === 'f16' ? (['y'] as const) : [])],
  };
}

const nameOf = (problem: MatmulProblem, device: DeviceProfile): string => matmul(problem, device)[0].name;

describe('the choice of the subgroup-matrix variant', () => {
  const square = problemOf([512, 512, 512], [false, true]);
  it('is for f16 operands on devices that multiply f16 matrices into f32', () => {
    expect(nameOf(square, MATRIX_GPU)).toMatch(/^matmul\/subgroup_matrix_nt_64x64/);
    const large = (n: number): string => nameOf(problemOf([8192, 64, n], [false, true]), MATRIX_GPU);
    expect(large(1024)).toMatch(/^matmul\/subgroup_matrix_nt_128x128/);
    // Two tiles of 128 columns would compute a third more; five of them a ninth.
    expect(large(192)).toMatch(/^matmul\/subgroup_matrix_nt_64x64/);
    expect(nameOf(problemOf([16384, 64, 192], [false, true]), MATRIX_GPU)).toMatch(/_128x64/);
    expect(large(576)).toMatch(/_128x128/);
    // In f32 too.
    const inF32 = (n: number): string => nameOf({ ...problemOf([8192, 64, n], [false, true]), f16: [] }, MATRIX_GPU);
    expect(inF32(192)).toMatch(/^matmul\/workgroup_nt_64x64/);
    expect(inF32(576)).toMatch(/_128x128/);
    expect(nameOf({ ...square, f16: ['a'] }, MATRIX_GPU)).toMatch(/workgroup/);
    expect(nameOf(square, { ...MATRIX_GPU, subgroupMatrix: [] })).toMatch(/workgroup/);
    const [matrices] = matricesOf(16);
    const other = [
      { ...matrices, resultComponentType: 'f16' },
      { ...matrices, N: 8 },
    ];
    expect(nameOf(square, { ...MATRIX_GPU, subgroupMatrix: other })).toMatch(/workgroup/);
    expect(nameOf(square, { ...MATRIX_GPU, subgroupSize: 0 })).toMatch(/workgroup/);
  });

  it('holds for the gradients of weights too, with that of the bias', () => {
    const problem = { ...problemOf([2048, 512, 2048], [true, false], { y: 'f32' }), rowSums: true };
    expect(matmul.candidates(problem, MATRIX_GPU)[0]).toBe('subgroup_matrix_large');
    expect(matmul.candidates({ ...problem, f16: [] }, MATRIX_GPU)[0]).toBe('workgroup_large');
  });
});

describe('its WGSL', () => {
  it('compiles on Dawn without a GPU', async ({ skip }) => {
    const device = await nullDevice();
    if (!device) {
      skip();
      return;
    }
    const problems: Parameters<typeof matmul>[0][] = [];
    for (const layout of LAYOUTS) {
      problems.push(problemOf([512, 512, 512], layout), problemOf([197, 65, 131], layout, { y: 'f32' }));
    }
    problems.push(
      problemOf([4096, 64, 4096], [false, true], { epilogue: { bias: true, gelu: true } }),
      { ...problemOf([197, 65, 131], [true, false]), variant: 'subgroup_matrix_large' },
      { ...problemOf([256, 64, 192], [false, false]), variant: 'subgroup_matrix_tall' },
      problemOf([197, 64, 192], [false, true], { epilogue: { bias: true, rowScale: true, residual: true }, y: 'f32' }),
      problemOf([197, 64, 192], [false, false], { epilogue: { geluGradient: true } }),
      problemOf([77, 63, 31], [false, true], { epilogue: { accumulate: true }, batch: 3 }),
      problemOf([197, 65, 131], [true, false], { rowSums: true, y: 'f32' }),
      problemOf([192, 50688, 192], [true, false], { rowSums: true, y: 'f32' }),
      { ...problemOf([197, 65, 131], [false, false], { rowSums: true }), variant: 'subgroup_matrix_tall' },
    );
    for (const problem of problems) {
      const [launch] = matmul(problem, MATRIX_GPU);
      // Larger tiles take more workgroup memory than this device has; their code is sound all the same.
      await expectCompiles(device, launch, launch.name.includes('_128x'));
    }
    device.destroy();
  });
});

describe('its arithmetic, with the matrix functions emulated', () => {
  beforeEach(({ skip }) => skipUnlessEmulated(engine(), skip));
  const side = 8;
  const check = async (
    size: readonly [number, number, number],
    layout: readonly [boolean, boolean],
    options: Options = {},
  ): Promise<void> => {
    const [m, k, n] = size;
    const { epilogue = {}, y: dtype = 'f16', batch = 1, rowSums = false, variant = 'subgroup_matrix' } = options;
    const [a, b] = [rounded(uniform(batch * m * k, 1)), rounded(uniform(batch * n * k, 2))];
    const [bias, rowScale, residual] = [uniform(n, 3), uniform(m, 5), uniform(batch * m * n, 4)];
    const shapes = {
      a: [batch, ...(layout[0] ? [k, m] : [m, k])],
      b: [batch, ...(layout[1] ? [n, k] : [k, n])],
    };
    const kernel = (problem: MatmulProblem, device: DeviceProfile): Launch[] => {
      const launches = matmul({ ...problem, variant }, { ...device, cpu: false, subgroupMatrix: matricesOf(side) });
      expect(launches[0].name).toMatch(/subgroup_matrix/);
      return launches.map((launch) => (launch.name.includes('subgroup_matrix') ? emulated(launch, side) : launch));
    };
    // Another row behind the result, which must stay as it is.
    const y = to(engine().full([batch * m * n + n], 9), dtype);
    const sums = engine().full([m + 1], 9);
    engine().run('matmul', kernel, problemOf(size, layout, options), {
      a: f16Tensor(engine(), a, shapes.a),
      b: f16Tensor(engine(), b, shapes.b),
      y,
      bias: engine().tensor(bias),
      row_scale: engine().tensor(rowScale),
      residual: engine().tensor(residual, [batch, m, n]),
      row_sums: sums,
    });
    const { values } = matmulReference({ ...shapes, transposeA: layout[0], transposeB: layout[1] }, a, b);
    const expected = values.map((value, i) => {
      const sum = value + (epilogue.bias ? bias[i % n] : 0);
      return sum * (epilogue.rowScale ? rowScale[Math.floor(i / n)] : 1) + (epilogue.residual ? residual[i] : 0);
    });
    const found = await numbers(y);
    expect(found.slice(batch * m * n)).toEqual(new Float32Array(n).fill(9));
    expectClose(
      found.slice(0, batch * m * n),
      expected,
      dtype === 'f16' ? HALF_UNIT : 2e-6,
      `${size.join('x')} ${layout.join()}`,
    );
    if (!rowSums) return;
    const rows = new Float64Array(m);
    a.forEach((value, i) => (rows[layout[0] ? i % m : Math.floor(i / k)] += value));
    const sumsFound = await sums.read();
    expect(sumsFound[m]).toBe(9);
    // Sums of numbers of both signs in f32, where f16 would be wrong by 2^-11 of some.
    expectClose(sumsFound.slice(0, m), rows, 2e-6, 'row sums');
  };

  // Every way to load either operand, every tile, and what comes after the sums, in few kernels: they take long to compile.
  it.each([
    ['ragged sizes, scaled rows', [37, 21, 43], [false, true], { epilogue: { rowScale: true } }],
    [
      'vectors, bias, scaled rows, residual',
      [36, 44, 68],
      [false, false],
      { epilogue: { bias: true, rowScale: true, residual: true }, y: 'f32' },
    ],
    ['ragged sizes in batches', [37, 35, 9], [true, false], { batch: 3 }],
    ['vectors, tall tiles, row sums', [68, 44, 36], [true, true], { variant: 'subgroup_matrix_tall', rowSums: true }],
    ['large tiles, row sums', [65, 36, 67], [false, true], { variant: 'subgroup_matrix_large', rowSums: true }],
    ['row sums, in parts', [36, 1100, 44], [true, false], { rowSums: true, y: 'f32', variant: 'split_k' }],
  ] as const)('%s', async (_name, size, layout, options) => {
    await check(size, layout, options);
  });
});
