import { create } from 'webgpu';
import { expect } from 'vitest';
import type { TestContext } from 'vitest';
import type { Engine } from '../../engine/node.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import { range } from '../../kernels/lib/unroll.ts';

/** What adapters list that multiply square matrices of f16 into f32. */
export const matricesOf = (side: number) => [
  { componentType: 'f16', resultComponentType: 'f32', M: side, N: side, K: side },
];

/** A device with tensor cores. */
export const MATRIX_GPU: DeviceProfile = deviceProfiles['tensor-cores'];

/** Kept, or Dawn ends the process. */
const instances: GPU[] = [];

/** Dawn's null device, which compiles subgroup matrices and runs nothing; null where this build of Dawn lacks them. */
export async function nullDevice(): Promise<GPUDevice | null> {
  const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
  instances.push(gpu);
  const adapter = await gpu.requestAdapter();
  const matrices = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;
  const sizes = 'subgroup-size-control' as GPUFeatureName;
  if (!adapter?.features.has(matrices)) return null;
  return adapter.requestDevice({ requiredFeatures: [matrices, sizes, 'shader-f16', 'subgroups'] });
}

/** Asserts that the WGSL of a launch has no errors, and makes a pipeline of it unless that is `beyond` the device's limits. */
export async function expectCompiles(device: GPUDevice, { code, name }: Launch, beyond = false): Promise<void> {
  expect(name).toMatch(/subgroup_matrix/);
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  expect(messages.map(({ message }) => `${name}: ${message}`)).toEqual([]);
  if (!beyond) await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
}

const LOAD =
  /(let )?(\w+) = subgroupMatrixLoad<subgroup_matrix_\w+<f\d+, \d+, \d+>, (row_major|col_major)>\(&(\w+), (.*?), (\d+u)\);/g;
const MULTIPLY = /(\w+) = subgroupMatrixMultiplyAccumulate\((\w+), (\w+), \w+\);/g;
const STORE = /subgroupMatrixStore<(row_major)>\(&(\w+), (.*?), (\w+), (\d+u)\);/g;

/** A function that moves a matrix between lanes and workgroup memory, where its rows lie together, or its columns. */
function mover(name: string, array: string, order: string, side: number): string {
  const moves = range(side).map((row) => {
    const place = order === 'row_major' ? `${row}u * stride + column` : `column * stride + ${row}u`;
    const [inside, outside] = [`(*matrix)[${row}]`, `${array}[first + ${place}]`];
    return name.startsWith('load') ? `${inside} = f32(${outside});` : `${outside} = ${inside};`;
  });
  return `fn ${name}(matrix: ptr<function, Matrix>, column: u32, first: u32, stride: u32) {\n${moves.join('\n')}\n}`;
}

/** Skips a test where matrices of f16 cannot be emulated, and says why: the lanes of a subgroup are a matrix's columns. */
export function skipUnlessEmulated({ profile: { f16, subgroupSize } }: Engine, skip: TestContext['skip']): void {
  skip(!f16 || subgroupSize !== 8, `wants f16 and subgroups of 8 lanes; here: f16 ${f16}, ${subgroupSize} lanes`);
}

/**
 * The same WGSL for an adapter without subgroup matrices, but with as many lanes in a subgroup as a matrix has columns:
 * each holds one, and the first lanes store them. Slow, but every index, guard and barrier is the kernel's own.
 */
export function emulated(launch: Launch, side: number): Launch {
  const lane = /@builtin\(subgroup_invocation_id\) (\w+)/.exec(launch.code)?.[1];
  const movers = new Map<string, string>();
  const move = (name: string, array: string, order: string): string => {
    const full = `${name}_${array}_${order}`;
    movers.set(full, mover(full, array, order, side));
    return full;
  };
  const code = launch.code
    .replace('enable chromium_experimental_subgroup_matrix;\n', '')
    .replaceAll(
      LOAD,
      (_, fresh: string, matrix: string, order: string, array: string, first: string, stride: string) => {
        const declared = fresh ? `var ${matrix}: Matrix; ` : '';
        return `${declared}${move('load', array, order)}(&${matrix}, ${lane} % ${side}u, ${first}, ${stride});`;
      },
    )
    .replaceAll(MULTIPLY, 'multiply(&$2, &$3, &$1);')
    .replaceAll(STORE, (_, order: string, array: string, first: string, matrix: string, stride: string) => {
      return `if (${lane} < ${side}u) { ${move('store', array, order)}(&${matrix}, ${lane}, ${first}, ${stride}); }`;
    })
    .replaceAll(/subgroup_matrix_result<f32, \d+, \d+>/g, 'Matrix');
  expect(code).not.toMatch(/subgroup_?matrix(_|[A-Z])/i);
  const products = range(side).map((row) => {
    const terms = range(side).map((j) => `subgroupBroadcast((*left)[${row}], ${j}u) * (*right)[${j}]`);
    return `(*sum)[${row}] += ${terms.join(' + ')};`;
  });
  return {
    ...launch,
    code: `${code}
alias Matrix = array<f32, ${side}>;
${[...movers.values()].join('\n')}
fn multiply(left: ptr<function, Matrix>, right: ptr<function, Matrix>, sum: ptr<function, Matrix>) {
${products.join('\n')}
}`,
  };
}
