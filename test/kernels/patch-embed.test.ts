import { describe, expect, it } from 'vitest';
import { autocast, patchEmbed, to } from '../../engine/node.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import { patchEmbedForward, patchEmbedImage, patchEmbedWeight } from '../../kernels/patch-embed/index.ts';
import type { PatchEmbedProblem } from '../../kernels/patch-embed/index.ts';
import { patchEmbedReference } from '../../kernels/patch-embed/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngineAs } from '../support/device-profiles.ts';
import { useEngine } from '../support/engine.ts';
import { emulated, matricesOf } from '../support/subgroup-matrix.ts';
import { HALF_UNIT, f16Tensor, f16Tests, numbers, rounded } from '../support/f16.ts';

const engine = useEngine();
const withF16 = f16Tests(engine);

const CASES: readonly PatchEmbedProblem[] = [
  { batch: 1, channels: 1, gridHeight: 1, gridWidth: 1, patch: 1, width: 1 },
  { batch: 2, channels: 3, gridHeight: 3, gridWidth: 2, patch: 5, width: 7 },
  { batch: 3, channels: 2, gridHeight: 2, gridWidth: 3, patch: 4, width: 4 },
  // Two parts of the sum over patches on GPUs.
  { batch: 5, channels: 3, gridHeight: 8, gridWidth: 8, patch: 4, width: 68 },
  { batch: 1, channels: 3, gridHeight: 5, gridWidth: 7, patch: 8, width: 36 },
  { batch: 2, channels: 3, gridHeight: 2, gridWidth: 3, patch: 16, width: 132 },
];

const data = ({ batch, channels, gridHeight, gridWidth, patch, width }: PatchEmbedProblem) => ({
  shape: [batch, channels, gridHeight * patch, gridWidth * patch],
  x: uniform(batch * channels * gridHeight * gridWidth * patch * patch, 1),
  w: uniform(width * channels * patch * patch, 2),
  bias: uniform(width, 3),
  g: uniform(batch * gridHeight * gridWidth * width, 4),
});

/** What f16 operands give. The gradient of the bias is a sum of the gradient as it comes. */
function inF16(problem: PatchEmbedProblem) {
  const { x, w, bias, g } = data(problem);
  const [image, weight] = [rounded(x), rounded(w)];
  const { db } = patchEmbedReference(problem, image, weight, bias, g);
  return { ...patchEmbedReference(problem, image, weight, bias, rounded(g)), db };
}

const nameOf = ({ batch, channels, gridHeight, gridWidth, patch, width }: PatchEmbedProblem): string =>
  `${batch} images of ${channels} x ${gridHeight} x ${gridWidth} patches of ${patch} to ${width}`;
const NAMED = CASES.map((problem) => ({ name: nameOf(problem), problem }));

// Sums of up to 768 products in f32: a few 2^-24 times its square root, relative to the norm.
const TOLERANCE = 2e-6;

describe.each(['the default', 'plain'])('patchEmbed, variant %s', (variant) => {
  const engine = useEngineAs({}, variant === 'plain' ? variant : undefined);
  it.each(NAMED)('$name', async ({ problem }) => {
    const { shape, x, w, bias, g } = data(problem);
    const { channels, patch, width, gridHeight, gridWidth, batch } = problem;
    const image = engine().tensor(x, shape).requiresGrad_();
    const weight = engine().tensor(w, [width, channels, patch, patch]).requiresGrad_();
    const b = engine().tensor(bias, [width]).requiresGrad_();
    const y = patchEmbed(image, weight, b);
    expect(y.shape).toEqual([batch, gridHeight * gridWidth, width]);
    y.backward(engine().tensor(g, y.shape));
    const expected = patchEmbedReference(problem, x, w, bias, g);
    expectClose(await y.read(), expected.y, TOLERANCE, 'y');
    expectClose(await image.grad!.read(), expected.dx, TOLERANCE, 'dx');
    expectClose(await weight.grad!.read(), expected.dw, TOLERANCE, 'dw');
    expectClose(await b.grad!.read(), expected.db, TOLERANCE, 'dbias');
  });
});

describe('patchEmbed', () => {
  it('refuses sizes that are no whole positive numbers', () => {
    const problem = { batch: 1, gridHeight: 2, gridWidth: 2, channels: 3, patch: 4, width: 8 };
    for (const changed of [{ batch: 0 }, { width: 8.5 }])
      expect(() => patchEmbedForward({ ...problem, ...changed }, engine().profile)).toThrow(/positive sizes/);
  });

  it('says which image does not divide into patches', () => {
    const [w, bias] = [engine().zeros([4, 3, 2, 2]), engine().zeros([4])];
    expect(() => patchEmbed(engine().zeros([1, 3, 5, 4]), w, bias)).toThrow(/shape-mismatch[\s\S]*multiples of P/);
  });
});

// Operands and the gradient for products are exact in f16, and sums run in f32: results are as good as those in f32.
describe('patchEmbed under autocast', () => {
  for (const { name, problem } of NAMED) {
    withF16(name, async () => {
      const { shape, x, w, bias, g } = data(problem);
      const { channels, patch, width } = problem;
      const image = engine().tensor(x, shape).requiresGrad_();
      const weight = engine().tensor(w, [width, channels, patch, patch]).requiresGrad_();
      const b = engine().tensor(bias, [width]).requiresGrad_();
      const y = autocast(engine(), () => patchEmbed(image, weight, b));
      expect(y.dtype).toBe('f32');
      y.backward(engine().tensor(g, y.shape));
      const expected = inF16(problem);
      expectClose(await y.read(), expected.y, TOLERANCE, 'y');
      expect([image, weight, b].map(({ grad }) => grad!.dtype)).toEqual(['f32', 'f32', 'f32']);
      expectClose(await image.grad!.read(), expected.dx, TOLERANCE, 'dx');
      expectClose(await weight.grad!.read(), expected.dw, TOLERANCE, 'dw');
      expectClose(await b.grad!.read(), expected.db, TOLERANCE, 'dbias');
    });
  }

  withF16('takes images in f16 as they are, and gives their gradient so', async () => {
    const problem = CASES[3];
    const { shape, x, w, bias, g } = data(problem);
    const image = f16Tensor(engine(), rounded(x), shape).requiresGrad_();
    const weight = engine().tensor(w, [problem.width, problem.channels, problem.patch, problem.patch]);
    const y = autocast(engine(), () => patchEmbed(image, to(weight, 'f16'), engine().tensor(bias)));
    y.backward(engine().tensor(g, y.shape));
    const expected = inF16(problem);
    expectClose(await y.read(), expected.y, TOLERANCE, 'y');
    expect(image.grad!.dtype).toBe('f16');
    expectClose(await numbers(image.grad!), expected.dx, HALF_UNIT, 'dx');
  });
});

describe('patch embedding as on a GPU', () => {
  const passes = { forward: patchEmbedForward, weight: patchEmbedWeight, image: patchEmbedImage };

  /** All passes, by the variant of this name where they have it, whatever becomes of their launches. */
  const check = async (
    problem: PatchEmbedProblem,
    own: { f16?: boolean; variant?: string; claims?: Partial<DeviceProfile>; run?: (launch: Launch) => Launch },
  ): Promise<string[]> => {
    const { f16 = false, variant, claims, run = (launch) => launch } = own;
    const { shape, x, w, bias, g } = data(problem);
    const { channels, patch, width, gridHeight, gridWidth, batch } = problem;
    const operand = (values: Float32Array, of: number[]) =>
      f16 ? f16Tensor(engine(), values, of) : engine().tensor(values, of);
    const tensors = {
      x: operand(x, shape),
      w: operand(w, [width, channels, patch, patch]),
      bias: engine().tensor(bias),
      dy: operand(g, [batch, gridHeight * gridWidth, width]),
      y: engine().empty([batch, gridHeight * gridWidth, width]),
      dw: engine().empty([w.length]),
      dx: engine().empty([x.length]),
    };
    const names: string[] = [];
    for (const kernel of Object.values(passes)) {
      const asked = (of: PatchEmbedProblem, device: DeviceProfile): Launch[] => {
        const profile = { ...device, cpu: false, ...claims };
        const named = variant !== undefined && kernel.has(variant, of, profile) ? variant : undefined;
        const launches = kernel({ ...of, variant: named }, profile);
        names.push(...launches.map(({ name }) => name));
        return launches.map(run);
      };
      engine().run('patchEmbed', asked, { ...problem, ...(f16 && { f16: ['x', 'w', 'dy'] as const }) }, tensors);
    }
    const expected = f16 ? inF16(problem) : patchEmbedReference(problem, x, w, bias, g);
    expectClose(await tensors.y.read(), expected.y, TOLERANCE, 'y');
    expectClose(await tensors.dw.read(), expected.dw, TOLERANCE, 'dw');
    expectClose(await tensors.dx.read(), expected.dx, TOLERANCE, 'dx');
    return names;
  };

  it.each(NAMED)('$name', async ({ problem }) => {
    await check(problem, {});
  });
  for (const { name, problem } of NAMED) {
    withF16(`${name}, in f16`, async () => {
      await check(problem, { f16: true });
    });
  }

  const tiled = NAMED.filter(({ problem }) => problem.patch % 4 === 0 && problem.width % 4 === 0);
  it.each(tiled)('$name, in tiles of matrix products', async ({ problem }) => {
    const names = await check(problem, { variant: 'implicit_64x64' });
    for (const pass of Object.keys(passes)) expect(names).toContain(`patch_embed.${pass}/implicit_64x64`);
  });

  it(
    'on subgroup matrices, emulated',
    async ({ skip }) => {
      const { f16, subgroupSize } = engine().profile;
      if (!f16 || subgroupSize === 0) skip();
      const side = 8;
      const names = await check(CASES[3], {
        f16: true,
        variant: 'implicit_matrix',
        claims: { subgroupMatrix: matricesOf(side) },
        run: (launch) => (launch.name.includes('matrix') ? emulated(launch, side) : launch),
      });
      const onMatrices = names.filter((name) => name.includes('matrix'));
      expect(onMatrices).toEqual(Object.keys(passes).map((pass) => `patch_embed.${pass}/implicit_matrix_32x32_f16`));
    },
    // Emulated matrices take long to compile.
    120_000,
  );
});
