import { create } from 'webgpu';
import { describe, expect, it } from 'vitest';
import { matmul } from '../kernels/matmul/index.ts';
import type { Epilogue, MatmulProblem } from '../kernels/matmul/index.ts';
import type { DeviceProfile } from '../kernels/device.ts';
import type { Launch } from '../kernels/kernel.ts';
import { expectClose, uniform } from './support/close.ts';
import { useEngine } from './support/engine.ts';
import { HALF_UNIT, halfTensor, numbers, rounded } from './support/half.ts';
import { matmulReference } from './support/matmul-reference.ts';

const engine = useEngine();

const MATRICES = [{ componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 }];
const GPU: DeviceProfile = {
  maxWorkgroupsPerDimension: 65535,
  maxInvocationsPerWorkgroup: 1024,
  maxWorkgroupStorage: 49152,
  maxBindingSize: 2 ** 30,
  maxStorageBuffers: 10,
  subgroupSize: 32,
  f16: true,
  cpu: false,
  subgroupMatrix: MATRICES,
};
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
}

function problemOf(
  [m, k, n]: readonly [number, number, number],
  [transposeA, transposeB]: readonly [boolean, boolean],
  { epilogue = {}, y = 'f16', batch = 1 }: Options = {},
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
    half: ['a', 'b', 'pre', 'activated', ...(y === 'f16' ? (['y'] as const) : [])],
  };
}

const nameOf = (problem: MatmulProblem, device: DeviceProfile): string => matmul(problem, device)[0].name;

describe('the choice of the subgroup-matrix variant', () => {
  const square = problemOf([512, 512, 512], [false, true]);
  it('is for f16 operands on devices that multiply f16 matrices into f32', () => {
    expect(nameOf(square, GPU)).toMatch(/^matmul\/subgroup_matrix_nt_64x64/);
    expect(nameOf(problemOf([4096, 64, 4096], [false, true]), GPU)).toMatch(/^matmul\/subgroup_matrix_nt_128x64/);
    expect(nameOf({ ...square, half: ['a'] }, GPU)).toMatch(/workgroup/);
    expect(nameOf(square, { ...GPU, subgroupMatrix: [] })).toMatch(/workgroup/);
    const other = [{ ...MATRICES[0], resultComponentType: 'f16' }, { ...MATRICES[0], N: 8 }]; // prettier-ignore
    expect(nameOf(square, { ...GPU, subgroupMatrix: other })).toMatch(/workgroup/);
    expect(nameOf(square, { ...GPU, subgroupSize: 0 })).toMatch(/workgroup/);
  });
});

/** Kept, or Dawn ends the process. */
const held: GPU[] = [];

describe('its WGSL', () => {
  it('compiles on Dawn without a GPU', async ({ skip }) => {
    const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
    held.push(gpu);
    const adapter = await gpu.requestAdapter();
    const matrices = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;
    if (!adapter?.features.has(matrices)) {
      skip();
      return;
    }
    const device = await adapter.requestDevice({ requiredFeatures: [matrices, 'shader-f16', 'subgroups'] });
    const problems: MatmulProblem[] = [];
    for (const layout of LAYOUTS) {
      problems.push(problemOf([512, 512, 512], layout), problemOf([197, 65, 131], layout, { y: 'f32' }));
    }
    problems.push(
      problemOf([4096, 64, 4096], [false, true], { epilogue: { bias: true, gelu: true } }),
      problemOf([197, 64, 192], [false, true], { epilogue: { bias: true, residual: true }, y: 'f32' }),
      problemOf([197, 64, 192], [false, false], { epilogue: { geluGradient: true } }),
      problemOf([77, 63, 31], [false, true], { epilogue: { accumulate: true }, batch: 3 }),
    );
    const small = MATRICES.map((config) => ({ ...config, M: 8, N: 8, K: 8 }));
    for (const profile of [GPU, { ...GPU, subgroupMatrix: small }]) {
      for (const problem of problems) {
        const [{ code, name }] = matmul(problem, profile);
        expect(name).toMatch(/subgroup_matrix/);
        const module = device.createShaderModule({ code });
        const { messages } = await module.getCompilationInfo();
        expect(messages.map(({ message }) => `${name}: ${message}`)).toEqual([]);
        // The large tile takes more workgroup memory than this device has; its code is sound all the same.
        if (name.includes('128x64')) continue;
        await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
      }
    }
    device.destroy();
  });
});

/**
 * The same WGSL for an adapter without subgroup matrices: every invocation holds whole matrices, and the first of a subgroup
 * stores them. Slow, but every index, guard and barrier is the kernel's own.
 */
function emulated(launch: Launch, side: number): Launch {
  const elements = side * side;
  const loader = (stage: string): string => /* wgsl */ `
fn load_${stage}(first: u32, stride: u32) -> array<f32, ${elements}> {
  var matrix: array<f32, ${elements}>;
  for (var i = 0u; i < ${elements}u; i++) { matrix[i] = f32(${stage}[first + i / ${side}u * stride + i % ${side}u]); }
  return matrix;
}`;
  const code = launch.code
    .replace('enable chromium_experimental_subgroup_matrix;\n', '')
    .replaceAll(/subgroupMatrixLoad<subgroup_matrix_(?:left|right)<f16, \d+, \d+>, row_major>\(&(\w+), /g, 'load_$1(')
    .replaceAll(/subgroup_matrix_result<f32, \d+, \d+>/g, `array<f32, ${elements}>`)
    .replaceAll(/(sum\w+) = subgroupMatrixMultiplyAccumulate\((\w+), (\w+), \w+\);/g, 'multiply($2, $3, &$1);')
    .replaceAll(
      /subgroupMatrixStore<row_major>\(&results, (.*), (\w+), \d+u\);/g,
      'if (own == 0u) { store($1, &$2); }',
    );
  expect(code).not.toMatch(/subgroup_?matrix(_|[A-Z])/i);
  return {
    ...launch,
    code: `${code}
${loader('stage_a')}
${loader('stage_b')}
fn multiply(left: array<f32, ${elements}>, right: array<f32, ${elements}>, sum: ptr<function, array<f32, ${elements}>>) {
  var l = left;
  var r = right;
  for (var i = 0u; i < ${elements}u; i++) {
    for (var j = 0u; j < ${side}u; j++) { (*sum)[i] += l[i / ${side}u * ${side}u + j] * r[j * ${side}u + i % ${side}u]; }
  }
}
fn store(first: u32, sum: ptr<function, array<f32, ${elements}>>) {
  for (var i = 0u; i < ${elements}u; i++) { results[first + i] = (*sum)[i]; }
}`,
  };
}

describe('its arithmetic, with the matrix functions emulated', () => {
  const side = 8;
  const check = async (
    size: readonly [number, number, number],
    layout: readonly [boolean, boolean],
    options: Options = {},
  ): Promise<void> => {
    const [m, k, n] = size;
    const { epilogue = {}, y: dtype = 'f16', batch = 1 } = options;
    const [a, b] = [rounded(uniform(batch * m * k, 1)), rounded(uniform(batch * n * k, 2))];
    const [bias, residual] = [uniform(n, 3), uniform(batch * m * n, 4)];
    const shapes = {
      a: [batch, ...(layout[0] ? [k, m] : [m, k])],
      b: [batch, ...(layout[1] ? [n, k] : [k, n])],
    };
    const kernel = (problem: MatmulProblem, device: DeviceProfile): Launch[] => {
      const matrices = MATRICES.map((config) => ({ ...config, M: side, N: side, K: side }));
      const launches = matmul(problem, { ...device, subgroupMatrix: matrices });
      expect(launches[0].name).toMatch(/subgroup_matrix/);
      return launches.map((launch) => emulated(launch, side));
    };
    const y = engine().empty([batch, m, n], dtype);
    engine().run('matmul', kernel, problemOf(size, layout, options), {
      a: halfTensor(engine(), a, shapes.a),
      b: halfTensor(engine(), b, shapes.b),
      y,
      bias: engine().tensor(bias),
      residual: engine().tensor(residual, [batch, m, n]),
    });
    const { values } = matmulReference({ ...shapes, transposeA: layout[0], transposeB: layout[1] }, a, b);
    const expected = values.map(
      (value, i) => value + (epilogue.bias ? bias[i % n] : 0) + (epilogue.residual ? residual[i] : 0),
    );
    expectClose(await numbers(y), expected, dtype === 'f16' ? HALF_UNIT : 2e-6, `${size.join('x')} ${layout.join()}`);
  };

  it.each(LAYOUTS)('transposed %s %s: ragged and whole sizes', async (...layout) => {
    const { f16, subgroupSize } = engine().profile;
    if (!f16 || subgroupSize === 0) return;
    await check([37, 21, 43], layout);
    await check([36, 44, 68], layout);
  });

  it('biases, residuals and batches', async () => {
    const { f16, subgroupSize } = engine().profile;
    if (!f16 || subgroupSize === 0) return;
    await check([33, 40, 20], [false, true], { epilogue: { bias: true, residual: true }, y: 'f32' });
    await check([9, 35, 34], [false, true], { batch: 3 });
  });
});
