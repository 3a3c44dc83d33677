/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { matmul } from '../../kernels/matmul/index.ts';
import type { MatmulProblem } from '../../kernels/matmul/index.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { matmulReference } from '../../kernels/matmul/reference.ts';

const engine = useEngine();

type Size = readonly [m: number, k: number, n: number];
type Layout = readonly [a: boolean, b: boolean];

const problemOf = ([m, k, n]: Size, [transposeA, transposeB]: Layout = [true, false]): MatmulProblem => ({
  m,
  n,
  k,
  a: { ld: transposeA ? m : k, transposed: transposeA },
  b: { ld: transposeB ? k : n, transposed: transposeB },
  y: { ld: n },
});

/** The kernel as a GPU has it. */
const onGpu = (problem: MatmulProblem, device: DeviceProfile) => matmul(problem, { ...device, cpu: false });

async function check(size: Size, layout: Layout, variant: string, parts: number, rowSums = false): Promise<void> {
  const [m, k, n] = size;
  const shapes = { a: layout[0] ? [k, m] : [m, k], b: layout[1] ? [n, k] : [k, n] };
  const [a, b] = [uniform(m * k, 1), uniform(k * n, 2)];
  const problem = { ...problemOf(size, layout), rowSums, variant };
  const launches = onGpu(problem, engine().profile);
  expect(launches.map(({ name }) => name)).toEqual([
    expect.stringMatching(/^matmul\/workgroup/),
    expect.stringMatching(/^matmul.split_k\/total/),
  ]);
  expect(launches[0].workspace.partials.elements).toBe(parts * m * n);
  const [y, row_sums] = [engine().full([m, n], 9), engine().full([m], 9)];
  const operands = { a: engine().tensor(a, shapes.a), b: engine().tensor(b, shapes.b) };
  engine().run('matmul', onGpu, problem, { ...operands, y, row_sums });
  const { values } = matmulReference({ ...shapes, transposeA: layout[0], transposeB: layout[1] }, a, b);
  // f32 sums of k products: some 2^-24 times the square root of k, relative to the norm.
  const tolerance = 2 ** -24 * (4 + Math.sqrt(k));
  expectClose(await y.read(), values, tolerance, `${variant} ${size.join('x')}`);
  if (!rowSums) return;
  const rows = new Float64Array(m);
  a.forEach((value, i) => (rows[layout[0] ? i % m : Math.floor(i / k)] += value));
  expectClose(await row_sums.read(), rows, tolerance, `${variant} ${size.join('x')}, row sums`);
}

describe('the sum over k in parts', () => {
  // Parts of 288 but for the last, which ends within a vector, within a block, and with one. Results and row sums are added one by
  // one, then in vectors, then in more than one workgroup each.
  it.each([
    { size: [33, 1031, 35], layout: [true, false], parts: 4 },
    { size: [36, 1036, 44], layout: [false, true], parts: 4 },
    { size: [524, 1152, 4], layout: [true, false], parts: 4 },
  ] as const)('of $size, transposed $layout, with row sums', async ({ size, layout, parts }) => {
    await check(size, layout, 'split_k', parts, true);
  });

  // As many as one, eight and sixteen invocations add, a result.
  it.each([
    { size: [5, 1030, 12], variant: 'split_k_half', parts: 2 },
    { size: [5, 1030, 12], variant: 'split_k_double', parts: 7 },
    { size: [4, 10_300, 4], variant: 'split_k', parts: 36 },
    { size: [4, 20_600, 4], variant: 'split_k_double', parts: 129 },
  ] as const)('$parts of $size', async ({ size, variant, parts }) => {
    await check(size, [true, false], variant, parts);
  });

  it('is one launch of enough workgroups, and one that adds', () => {
    // The weight's gradient of DeiT-Ti's attention projection at batch 256: 3 x 3 tiles; of 128 x 128 there would be four.
    const launches = matmul(problemOf([192, 198 * 256, 192]), deviceProfiles.nvidia);
    expect(launches.map(({ name }) => name)).toEqual(['matmul/workgroup_tn_64x64', 'matmul.split_k/total_8']);
    const [{ grid, cost }, { cost: adding }] = launches;
    expect(grid[0]).toBe(9 * 55);
    // Operands are read once, and written are 55 partial results, which are read again.
    expect(cost.flops).toBe(2 * 192 * 192 * 198 * 256);
    expect(cost.bytes).toBe(4 * (2 * 192 * 198 * 256 + 55 * 192 * 192));
    expect(adding.bytes).toBe(4 * 56 * 192 * 192);
  });

  it('is not for processors', () => {
    expect(matmul.has('split_k', problemOf([192, 4096, 192]), deviceProfiles.nvidia)).toBe(true);
    expect(matmul.has('split_k', problemOf([192, 4096, 192]), deviceProfiles.cpu)).toBe(false);
  });
});
