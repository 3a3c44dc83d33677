import { describe, expect, it } from 'vitest';
import { autocast, patchEmbed, to } from '../../engine/node.ts';
import type { Kernel } from '../../kernels/lib/kernel.ts';
import { patchEmbedForward, patchEmbedWeight } from '../../kernels/patch-embed/index.ts';
import type { PatchEmbedProblem } from '../../kernels/patch-embed/index.ts';
import { patchEmbedReference } from '../../kernels/patch-embed/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngineAs } from '../support/device-profiles.ts';
import { useEngine } from '../support/engine.ts';
import { HALF_UNIT, f16Tensor, f16Tests, numbers, rounded } from '../support/f16.ts';

const engine = useEngine();
const withF16 = f16Tests(engine);

const CASES: readonly PatchEmbedProblem[] = [
  { batch: 1, channels: 1, gridHeight: 1, gridWidth: 1, patch: 1, width: 1 },
  { batch: 2, channels: 3, gridHeight: 3, gridWidth: 2, patch: 5, width: 7 },
  { batch: 3, channels: 2, gridHeight: 2, gridWidth: 3, patch: 4, width: 4 },
  { batch: 2, channels: 3, gridHeight: 8, gridWidth: 8, patch: 4, width: 68 },
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
  it('says which image does not divide into patches', () => {
    const [w, bias] = [engine().zeros([4, 3, 2, 2]), engine().zeros([4])];
    expect(() => patchEmbed(engine().zeros([1, 3, 5, 4]), w, bias)).toThrow(/shape-mismatch[\s\S]*multiples of P/);
  });
});

// Operands are exact in f16, and sums run in f32: results are as good as those in f32.
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
      const expected = patchEmbedReference(problem, rounded(x), rounded(w), bias, g);
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
    const expected = patchEmbedReference(problem, rounded(x), rounded(w), bias, g);
    expectClose(await y.read(), expected.y, TOLERANCE, 'y');
    expect(image.grad!.dtype).toBe('f16');
    expectClose(await numbers(image.grad!), expected.dx, HALF_UNIT, 'dx');
  });
});

describe('patch embedding as on a GPU', () => {
  const onGpu =
    (kernel: Kernel<PatchEmbedProblem>): Kernel<PatchEmbedProblem> =>
    (problem, device) =>
      kernel(problem, { ...device, cpu: false });
  const forward = onGpu(patchEmbedForward);
  const weightGradient = onGpu(patchEmbedWeight);

  const check = async (problem: PatchEmbedProblem, f16: boolean): Promise<void> => {
    const { shape, x, w, bias, g } = data(problem);
    const { channels, patch, width, gridHeight, gridWidth, batch } = problem;
    const own: PatchEmbedProblem = { ...problem, ...(f16 && { f16: ['x', 'w'] }) };
    const operand = (values: Float32Array, of: number[]) =>
      f16 ? f16Tensor(engine(), values, of) : engine().tensor(values, of);
    const tensors = {
      x: operand(x, shape),
      w: operand(w, [width, channels, patch, patch]),
      bias: engine().tensor(bias),
      dy: engine().tensor(g, [batch, gridHeight * gridWidth, width]),
    };
    const y = engine().empty([batch, gridHeight * gridWidth, width]);
    const expected = patchEmbedReference(problem, f16 ? rounded(x) : x, f16 ? rounded(w) : w, bias, g);
    engine().run('patchEmbed', forward, own, { ...tensors, y });
    expectClose(await y.read(), expected.y, TOLERANCE, 'y');
    const dw = engine().empty([w.length]);
    engine().run('patchEmbed', weightGradient, own, { ...tensors, dw });
    expectClose(await dw.read(), expected.dw, TOLERANCE, 'dw');
  };

  it.each(NAMED)('$name', ({ problem }) => check(problem, false));
  for (const { name, problem } of NAMED) withF16(`${name}, in f16`, () => check(problem, true));
});
