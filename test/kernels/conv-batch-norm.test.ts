/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { add, autocast, conv2d, convBatchNorm, relu, to } from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import { batchNormReference } from '../../kernels/batch-norm/reference.ts';
import { convForward, convOutput } from '../../kernels/conv2d/index.ts';
import type { ConvProblem } from '../../kernels/conv2d/index.ts';
import { convReference } from '../../kernels/conv2d/reference.ts';
import { BatchNorm2d, Conv2d } from '../../nn/index.ts';
import { CONV_CASES, convProblemOf } from '../cases/conv.ts';
import type { ConvCase } from '../cases/conv.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';
import { HALF_UNIT, f16Tests, rounded } from '../support/f16.ts';

/** As of the convolution: the scale is rounded twice more, once for itself and once in each filter. */
const TOLERANCE = 2e-6;
const EPS = 1e-3;

const dataOf = (c: ConvCase) => ({
  x: uniform(product(c.x), 1),
  weight: uniform(product(c.weight), 2),
  norm: {
    weight: uniform(c.weight[0], 3),
    bias: uniform(c.weight[0], 4),
    mean: uniform(c.weight[0], 5),
    variance: uniform(c.weight[0], 6).map((value) => 1.5 + value),
  },
});

/** One after the other, in float64. */
function expectedOf(c: ConvCase, x: Float32Array, weight: Float32Array, relu: boolean): Float64Array {
  const problem = convProblemOf(c);
  const { norm } = dataOf(c);
  const [height, width] = convOutput(problem);
  const dy = new Float32Array(c.x[0] * c.weight[0] * height * width);
  const y = convReference(problem, { x, weight, bias: null, dy }).y;
  return batchNormReference(
    { batch: c.x[0], channels: c.weight[0], plane: height * width, eps: EPS, training: false, relu },
    { x: y, dy, weight: norm.weight, bias: norm.bias, runningMean: norm.mean, runningVar: norm.variance },
  ).y;
}

const CASES = CONV_CASES.filter(({ name }) =>
  /^1x1 on (whole|many)|^1x1 on single pixels$|rows of vectors|a stem|5x3|many images/.test(name),
);
const shapeOf = (c: ConvCase): number[] => [c.x[0], c.weight[0], ...convOutput(convProblemOf(c))];
const profiles = PROFILES.filter(
  ({ name, variant }) => ['this device', 'a GPU', 'small bindings'].includes(name) || variant,
);

describe.each(profiles)('convBatchNorm on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  const withF16 = f16Tests(engine);
  const run = (c: ConvCase, relu: boolean, image: 'f32' | 'f16' = 'f32', shortcut: Float32Array | null = null) => {
    const { x, weight, norm } = dataOf(c);
    const tensors = Object.fromEntries(
      Object.entries(norm).map(([name, values]) => [name, engine().tensor(values)]),
    ) as Record<keyof typeof norm, ReturnType<ReturnType<typeof engine>['tensor']>>;
    return convBatchNorm(to(engine().tensor(x, c.x), image), engine().tensor(weight, c.weight), tensors, {
      ...c,
      eps: EPS,
      relu,
      shortcut: shortcut && engine().tensor(shortcut, shapeOf(c)),
    });
  };

  it.each(CASES)('$name', async (c) => {
    const { x, weight } = dataOf(c);
    for (const relu of [false, true]) {
      expectClose(await run(c, relu).read(), expectedOf(c, x, weight, relu), TOLERANCE, `relu ${relu}`);
    }
  });

  it.each(CASES)('$name, with a shortcut', async (c) => {
    const { x, weight } = dataOf(c);
    const shortcut = uniform(product(shapeOf(c)), 7);
    const expected = expectedOf(c, x, weight, false).map((value, i) => value + shortcut[i]);
    for (const relu of [false, true]) {
      const ended = relu ? expected.map((value) => Math.max(0, value)) : expected;
      expectClose(await run(c, relu, 'f32', shortcut).read(), ended, TOLERANCE, `relu ${relu}`);
    }
  });

  for (const c of CASES) {
    withF16(`${c.name}, under autocast`, async () => {
      const { x, weight } = dataOf(c);
      // x is exact in f16; the folded filters are rounded to f16 (half a unit each, of either sign), and sums are not.
      const y = autocast(engine(), () => to(run(c, true, 'f16'), 'f32'));
      expectClose(await y.read(), expectedOf(c, rounded(x), weight, true), HALF_UNIT, 'y');
      // What is added to stays f32, and so does the sum.
      const shortcut = uniform(product(shapeOf(c)), 7, 100);
      const added = autocast(engine(), () => run(c, false, 'f16', shortcut));
      expect(added.dtype).toBe('f32');
      const alone = expectedOf(c, rounded(x), weight, false);
      expectClose(
        (await added.read()).map((value, i) => value - shortcut[i]),
        alone,
        HALF_UNIT + 100 * 2 ** -23,
        'added',
      );
    });
  }
});

describe('a convolution that ends with a ReLU', () => {
  const engine = useEngineAs({});

  it.each(CASES)('by the variants: $name', async (c) => {
    const problem = convProblemOf(c);
    const { x, weight, norm } = dataOf(c);
    const gpu = { ...engine().profile, cpu: false };
    const [height, width] = convOutput(problem);
    const shape = [c.x[0], c.weight[0], height, width];
    const shortcut = uniform(product(shape), 7);
    const plane = convReference(problem, { x, weight, bias: norm.bias, dy: new Float32Array(product(shape)) }).y;
    const own = { ...problem, bias: true };
    // Each way to read the image, and those with several sums a row.
    const others = ['implicit_64x64', 'plane_8x2', 'general_8x1', 'plain'];
    const names = new Set([
      convForward.candidates(own, gpu)[0],
      ...others.filter((name) => convForward.has(name, own, gpu)),
    ]);
    const ends = [...names].flatMap((variant) => [true, false].map((added) => ({ variant, added })));
    for (const { variant, added } of ends) {
      const y = engine().empty(shape);
      engine().run(
        'conv',
        (own: ConvProblem, device) =>
          convForward({ ...own, bias: true, relu: true, shortcut: added, variant }, { ...device, cpu: false }),
        problem,
        {
          x: engine().tensor(x, c.x),
          weight: engine().tensor(weight, c.weight),
          bias: engine().tensor(norm.bias),
          y,
          ...(added && { shortcut: engine().tensor(shortcut, shape) }),
        },
      );
      expectClose(
        await y.read(),
        plane.map((value, i) => Math.max(0, added ? value + shortcut[i] : value)),
        TOLERANCE,
        `${variant}, shortcut ${added}`,
      );
    }
  });

  it('keeps NaN', async () => {
    const norm = Object.fromEntries(
      ['weight', 'bias', 'mean', 'variance'].map((name) => [name, engine().full([4], 1)]),
    ) as Record<'weight' | 'bias' | 'mean' | 'variance', ReturnType<ReturnType<typeof engine>['full']>>;
    const x = engine().tensor([NaN, 1, 2, 3], [1, 1, 2, 2]);
    const y = await convBatchNorm(x, engine().full([4, 1, 1, 1], 1), norm, { relu: true }).read();
    expect([...y].map(Number.isNaN)).toEqual([...y].map((_, i) => i % 4 === 0));
  });
});

describe('a batch norm after a convolution', () => {
  const engine = useEngineAs({});

  it('is one convolution where no gradient is recorded, and follows its state', async () => {
    const [conv, norm] = [new Conv2d(engine(), 4, 8, 3, { bias: false }), new BatchNorm2d(engine(), 8, { relu: true })];
    const x = engine().tensor(uniform(2 * 4 * 36, 1), [2, 4, 6, 6]);
    const kernelsOf = (work: () => unknown): string[] => {
      const kernels: string[] = [];
      engine().observe(({ kernel }) => kernels.push(kernel.split('/')[0]), work);
      return kernels;
    };
    norm.eval();
    const folded = (): Promise<Float32Array> =>
      engine()
        .noGrad(() => norm.after(conv, x))
        .read() as Promise<Float32Array>;
    const apart = (): Promise<Float32Array> =>
      engine()
        .noGrad(() => norm.forward(conv2d(x, conv.weight, null)))
        .read() as Promise<Float32Array>;
    expectClose(await folded(), await apart(), 1e-6);
    const state = new Map(
      [...norm.stateDict()].map(([name, { shape }], i) => [name, { shape, data: uniform(8, i + 2).map(Math.abs) }]),
    );
    norm.loadStateDict(state);
    expectClose(await folded(), await apart(), 1e-6);
    const alone = kernelsOf(() => engine().noGrad(() => norm.after(conv, x)));
    expect(alone).toContain('conv2d.fold_norm');
    expect(alone.filter((name) => name.startsWith('batch_norm'))).toEqual([]);
    const shortcut = engine().tensor(uniform(2 * 8 * 16, 9), [2, 8, 4, 4]);
    const added = (): Tensor => norm.after(conv, x, shortcut);
    const bare = new BatchNorm2d(engine(), 8).eval();
    bare.loadStateDict(state);
    const expected = await engine()
      .noGrad(() => relu(add(shortcut, bare.forward(conv2d(x, conv.weight, null)))))
      .read();
    expectClose(await engine().noGrad(added).read(), expected, 1e-6);
    expect(kernelsOf(() => engine().noGrad(added))).toEqual(['conv2d.fold_norm', 'conv2d.forward']);
    expectClose(await added().read(), expected, 1e-6);
    // With a gradient, and in training, as ever.
    expect(kernelsOf(() => norm.after(conv, x))).toContain('batch_norm.forward');
    norm.train();
    expect(kernelsOf(() => engine().noGrad(() => norm.after(conv, x)))).toContain('batch_norm.training');
  });

  it('refuses to be one where its gradient is wanted', () => {
    const one = engine().full([1], 1);
    const weight = engine().full([1, 1, 1, 1], 1).requiresGrad_();
    const norm = { weight: one, bias: one, mean: one, variance: one };
    expect(() => convBatchNorm(engine().full([1, 1, 2, 2], 1), weight, norm)).toThrow(/convBatchNorm/);
    expect(() => convBatchNorm(engine().full([1, 1, 2, 2], 1), engine().full([2, 1, 1, 1], 1), norm)).toThrow(
      /shape of the norm's weight/,
    );
  });
});
