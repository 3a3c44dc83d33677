/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { convForward, convInputGradient, convOutput, convWeightGradient } from '../../kernels/conv2d/index.ts';
import type { ConvProblem } from '../../kernels/conv2d/index.ts';
import { convReference } from '../../kernels/conv2d/reference.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Kernel, Launch } from '../../kernels/lib/kernel.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { HALF_UNIT, f16Tensor, numbers, rounded } from '../support/f16.ts';
import { emulated, expectCompiles, matricesOf, MATRIX_GPU, nullDevice } from '../support/subgroup-matrix.ts';

const engine = useEngine();

const f16 = ['x', 'weight', 'y'] as const;
const problemOf = (own: Partial<ConvProblem>): ConvProblem => ({
  batch: 2,
  channels: 36,
  height: 6,
  width: 6,
  filters: 44,
  kernelHeight: 1,
  kernelWidth: 1,
  stride: 1,
  padding: 0,
  groups: 1,
  f16,
  ...own,
});

const CASES: Readonly<Record<string, ConvProblem>> = {
  '1x1 on whole vectors of pixels': problemOf({}),
  '1x1, stride 2, odd sizes': problemOf({ height: 7, width: 9, stride: 2 }),
  '3x3 in groups': problemOf({ channels: 72, filters: 88, kernelHeight: 3, kernelWidth: 3, padding: 1, groups: 2 }),
  '3x3, stride 2': problemOf({
    channels: 40,
    filters: 36,
    width: 7,
    kernelHeight: 3,
    kernelWidth: 3,
    padding: 1,
    stride: 2,
  }),
};

describe('convolutions by subgroup matrices', () => {
  it('are chosen where operands are f16 and the device has such, large tiles where there are enough', () => {
    const name = (own: Partial<ConvProblem>, claims: Partial<DeviceProfile> = {}): string =>
      convForward({ ...problemOf(own), bias: false }, { ...MATRIX_GPU, ...claims }).at(-1)!.name;
    expect(name({ batch: 8 })).toBe('conv2d.forward/implicit_matrix_64x64_f16');
    expect(name({ batch: 64, height: 28, width: 28, filters: 128 })).toBe('conv2d.forward/implicit_matrix_128x128_f16');
    expect(name({ batch: 8, f16: ['x'] })).toMatch(/implicit_64x64/);
    expect(name({ batch: 8 }, { subgroupMatrix: [] })).toMatch(/implicit_64x64/);
  });

  it('compile on Dawn without a GPU', async ({ skip }) => {
    const device = await nullDevice();
    if (!device) {
      skip();
      return;
    }
    for (const problem of Object.values(CASES)) {
      for (const variant of ['implicit_matrix', 'implicit_matrix_large']) {
        const launches = [
          ...convForward({ ...problem, bias: true, variant }, MATRIX_GPU),
          ...convInputGradient({ ...problem, variant }, MATRIX_GPU),
          ...convWeightGradient({ ...problem, variant }, MATRIX_GPU),
        ].filter(({ name }) => !/pack|total/.test(name));
        for (const launch of launches) {
          const renamed = { ...launch, name: launch.name.replace('implicit_matrix', 'subgroup_matrix') };
          await expectCompiles(device, renamed, variant.endsWith('large'));
        }
      }
    }
    device.destroy();
  });

  // The others differ in how they are loaded, which conv2d.test.ts checks in f32.
  it.for(Object.keys(CASES).filter((name) => !name.includes('odd')))(
    'give the right values, with the matrix functions emulated: %s',
    // Emulated matrices take long to compile.
    { timeout: 300_000 },
    async (name, { skip }) => {
      const { f16: hasF16, subgroupSize } = engine().profile;
      skip(!hasF16 || subgroupSize === 0, 'wants f16 and subgroups');
      const side = 8;
      const problem = CASES[name];
      const { batch, channels, height, width, filters, kernelHeight, kernelWidth, groups } = problem;
      const shapes = {
        x: [batch, channels, height, width],
        weight: [filters, channels / groups, kernelHeight, kernelWidth],
        y: [batch, filters, ...convOutput(problem)],
      };
      const [x, weight, dy] = Object.values(shapes).map((shape, i) =>
        rounded(
          uniform(
            shape.reduce((a, b) => a * b),
            i + 1,
          ),
        ),
      );
      const bias = uniform(filters, 4);
      const expected = convReference(problem, { x, weight, bias, dy });
      const emulate =
        <Problem>(kernel: Kernel<Problem & { variant?: string }>) =>
        (own: Problem, device: DeviceProfile): Launch[] => {
          const claims = { cpu: false, subgroupMatrix: matricesOf(side) };
          const launches = kernel({ ...own, variant: 'implicit_matrix' }, { ...device, ...claims });
          return launches.map((launch) => (/pack|total/.test(launch.name) ? launch : emulated(launch, side)));
        };
      const of = (values: Float32Array, shape: readonly number[]) => f16Tensor(engine(), values, shape);
      const y = engine().empty(shapes.y, 'f16');
      const dx = engine().empty(shapes.x, 'f16');
      const w = of(weight, shapes.weight);
      const forward = { ...problem, bias: true };
      engine().run('forward', emulate(convForward), forward, {
        x: of(x, shapes.x),
        weight: w,
        y,
        bias: engine().tensor(bias),
      });
      engine().run('gradient', emulate(convInputGradient), problem, { dy: of(dy, shapes.y), weight: w, dx });
      const dw = engine().empty(shapes.weight);
      engine().run('weights', emulate(convWeightGradient), problem, { x: of(x, shapes.x), dy: of(dy, shapes.y), dw });
      // Products of f16 are exact in f32, and their sums are rounded once.
      expectClose(await numbers(y), expected.y, HALF_UNIT, 'y');
      expectClose(await numbers(dx), expected.dx, HALF_UNIT, 'dx');
      // Stored in f32, rounded as sums of at most a few dozen products are.
      expectClose(await dw.read(), expected.dweight, 1e-6, 'dw');
    },
  );
});
