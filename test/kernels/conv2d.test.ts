/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { autocast, conv2d, to } from '../../engine/node.ts';
import type { Engine, Tensor } from '../../engine/node.ts';
import { convForward, convOutput, convWeightGradient } from '../../kernels/conv2d/index.ts';
import type { ConvProblem } from '../../kernels/conv2d/index.ts';
import { convReference } from '../../kernels/conv2d/reference.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { CONV_CASES, convProblemOf } from '../cases/conv.ts';
import type { ConvCase } from '../cases/conv.ts';
import { product } from '../support/arrays.ts';
import { expectClose, uniform } from '../support/close.ts';
import { differentiate } from '../support/differentiate.ts';
import type { Operand } from '../support/differentiate.ts';
import { HALF_UNIT, f16Tests, rounded } from '../support/f16.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

// Sums of at most a few thousand f32 products, in pieces: each rounding is 6e-8, and they add up like their root.
const TOLERANCE = 2e-6;

const operandsOf = (c: ConvCase): (Operand & { data: Float32Array })[] => [
  { shape: c.x, data: uniform(product(c.x), 1) },
  { shape: c.weight, data: uniform(product(c.weight), 2) },
  ...(c.bias ? [{ shape: [c.weight[0]], data: uniform(c.weight[0], 3) }] : []),
];

/**
 * Runs a case forward and backward, and compares everything with float64; under autocast if the dtype of its image is given.
 * Operands and the upstream gradient are exact in f16 then and sums run in f32: an f32 result is as good as in f32, an
 * f16 one is one rounding away.
 */
async function check(engine: Engine, c: ConvCase, what = '', image?: 'f32' | 'f16'): Promise<void> {
  const operands = operandsOf(c);
  const found = await differentiate(engine, operands, (x, w, b) => {
    const own = to(x, image ?? 'f32');
    const y = autocast(engine, () => conv2d(own, w, c.bias ? b : null, c), { enabled: image !== undefined });
    expect(y.dtype).toBe(image ? 'f16' : 'f32');
    return to(y, 'f32');
  });
  const [x, weight, bias] = operands.map(({ data }) => data);
  const used = image ? rounded : (data: Float32Array): Float32Array => data;
  const problem = convProblemOf(c);
  const expected = convReference(problem, {
    x: used(x),
    weight: used(weight),
    bias: bias ?? null,
    dy: used(found.dy),
  });
  expect(found.shape).toEqual([c.x[0], c.weight[0], ...convOutput(problem)]);
  expectClose(found.y, expected.y, image ? HALF_UNIT : TOLERANCE, `${what} y`);
  expectClose(found.gradients[0], expected.dx, image === 'f16' ? HALF_UNIT : TOLERANCE, `${what} dx`);
  expectClose(found.gradients[1], expected.dweight, TOLERANCE, `${what} dw`);
  if (c.bias) expectClose(found.gradients[2], expected.dbias, TOLERANCE, `${what} db`);
}

describe.each(PROFILES)('conv2d on $name', ({ name, claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  // The variants do not depend on the profile: the loads do, so that ordinary cases are enough elsewhere.
  const cases = name === 'this device' || variant ? CONV_CASES : CONV_CASES.filter((_, i) => i % 3 === 1);

  it.each(cases)('$name', (c) => check(engine(), c));

  const withF16 = f16Tests(engine);
  for (const c of cases) {
    withF16(`${c.name}, under autocast`, async () => {
      await check(engine(), c, 'f32 image,', 'f32');
      await check(engine(), c, 'f16 image,', 'f16');
    });
  }
});

const twoProfiles = PROFILES.filter(({ name }) => name === 'this device' || name === 'a GPU');

describe.each(twoProfiles)('every variant of a convolution on $name', ({ claims }) => {
  const engine = useEngineAs(claims);
  // A case for each access of each pass, with more channels than the largest tile has rows, and with fewer.
  const wanted =
    /^1x1, 16|^1x1 on many|^1x1, stride|^1x1 in groups|^1x1 on single pixels$|^3x3 in groups on single|of 3 to 5|of 24|stride 2$|36 channels|to 72|^5x3/;
  const cases = CONV_CASES.filter(({ name }) => wanted.test(name));

  it.each(cases)('$name', async (c) => {
    const { variants, profile } = engine();
    const run = (): Tensor => {
      const [x, weight] = [c.x, c.weight].map((shape) => engine().full(shape, 1).requiresGrad_());
      return conv2d(x, weight, c.bias ? engine().zeros([c.weight[0]]) : null, c).sum();
    };
    const asked = await variants.collect(() => run().backward());
    expect(asked.map(({ kernel }) => kernel.id)).toEqual(
      ['forward', 'input_gradient', 'weight_gradient'].map((pass) => `conv2d.${pass}`),
    );
    // Products of matrices are worth it for larger sizes, and are right for small ones. Large tiles take long to compile here.
    const tiles = /36 channels|to 72/.test(c.name) ? /^implicit/ : /^implicit_64/;
    const variantsOf = asked.map(({ kernel, problem }) => {
      const own = kernel.variants.filter((name) => tiles.test(name) && kernel.has(name, problem, profile));
      return [...new Set([...own, ...kernel.candidates(problem, profile), 'plain'])];
    });
    // All passes at once, each by the next of its variants.
    for (let i = 0; i < Math.max(...variantsOf.map(({ length }) => length)); i++) {
      const names = variantsOf.map((own) => own[i % own.length]);
      asked.forEach(({ key }, pass) => variants.choose(key, names[pass]));
      const kernels: string[] = [];
      await engine().observe(
        ({ kernel }) => kernels.push(kernel.replace('.pack', '')),
        () => check(engine(), c, names.join(', ')),
      );
      const passes = ['forward', 'input_gradient', 'weight_gradient'];
      expect(kernels).toEqual(expect.arrayContaining(passes.map((pass, p) => `conv2d.${pass}/${names[p]}`)));
    }
  });
});

describe('weight gradients as products of matrices', () => {
  const engine = useEngineAs({});
  const cases: readonly ConvCase[] = [
    // Ten chunks, in two parts where bindings are small.
    CONV_CASES.find(({ name }) => name === 'many images, long sums')!,
    { name: '1x1 on an odd number of pixels', x: [30, 8, 3, 5], weight: [12, 8, 1, 1] },
    { name: '1x1 on whole vectors of pixels', x: [70, 8, 4, 4], weight: [12, 8, 1, 1] },
    {
      name: '5x3, stride 3, padding 2, rows of 4 and 1',
      x: [20, 8, 9, 13],
      weight: [8, 4, 5, 3],
      stride: 3,
      padding: 2,
    },
    { name: '2x4, padding above the kernel', x: [2, 4, 3, 4], weight: [4, 4, 2, 4], padding: 4 },
    { name: 'pixels at the end that no tap meets', x: [2, 4, 9, 8], weight: [4, 4, 2, 2], stride: 3 },
  ];

  it.each(cases)('$name', async (c) => {
    const problem = { ...convProblemOf(c), groups: c.x[1] / c.weight[1] };
    const [filters, ...rest] = c.weight;
    const [height, width] = convOutput(problem);
    const shapeY = [c.x[0], filters, height, width];
    const [x, dy] = [uniform(product(c.x), 1), uniform(product(shapeY), 2)];
    const expected = convReference(problem, { x, weight: new Float32Array(product(c.weight)), bias: null, dy });
    for (const maxBindingSize of [2 ** 27, 65536]) {
      const claims = { cpu: false, maxBindingSize };
      const dw = engine().full([filters, ...rest], NaN);
      engine().run(
        'gradient',
        (own: ConvProblem, device) =>
          convWeightGradient({ ...own, variant: 'implicit_64x64' }, { ...device, ...claims }),
        problem,
        { x: engine().tensor(x, c.x), dy: engine().tensor(dy, shapeY), dw },
      );
      expectClose(await dw.read(), expected.dweight, TOLERANCE, `dw, bindings of ${maxBindingSize}`);
    }
  });

  it('are chosen where the tiles are full, large tiles where they are many', () => {
    const base = { batch: 64, kernelHeight: 3, kernelWidth: 3, stride: 1, padding: 1, groups: 1 };
    const name = (channels: number, filters: number, size: number): string =>
      convWeightGradient(
        { ...base, channels, filters, height: size, width: size },
        { ...engine().profile, cpu: false, subgroupMatrix: [] },
      )[0].name.replace('conv2d.weight_gradient/', '');
    expect(name(128, 128, 28)).toBe('implicit_128x128');
    expect(name(64, 64, 28)).toBe('implicit_64x64');
    expect(name(3, 32, 28)).toBe('rows_8x1');
    expect(name(64, 32, 28)).toBe('rows_8x1');
    expect(name(128, 128, 2)).toBe('general_8x1');
  });
});

describe('the variants of a convolution', () => {
  const engine = useEngineAs({});
  const problem = { batch: 2, channels: 24, height: 8, width: 8, filters: 32, stride: 1, groups: 1, bias: false };
  const variants = async (kernel: number, own: Partial<typeof problem>, claims: Partial<DeviceProfile>) => {
    const { batch, channels, height, width, filters, stride, groups } = { ...problem, ...own };
    const asked = await engine().variants.collect(() => {
      const x = engine().zeros([batch, channels, height, width]);
      conv2d(x, engine().zeros([filters, channels / groups, kernel, kernel]), null, {
        stride,
        padding: kernel >> 1,
        groups,
      });
    });
    return asked[0].kernel.candidates(asked[0].problem, { ...engine().profile, ...claims });
  };

  it('are tiles of the access that the sizes allow, and the general one; the default comes first', async () => {
    const tiles = [
      'plane_8x1',
      'plane_8x2',
      'plane_16x1',
      'plane_16x2',
      'plane_4x1',
      'plane_4x2',
      'plane_2x1',
      'plane_2x2',
    ];
    expect(await variants(1, {}, { cpu: false })).toEqual([...tiles, 'general_8x1']);
    expect(await variants(1, {}, { cpu: true })).toEqual([
      'plane_16x2',
      ...tiles.filter((tile) => tile !== 'plane_16x2'),
      'general_8x1',
    ]);
    expect(await variants(3, {}, { cpu: false })).toEqual([
      'rows_8x1',
      'rows_16x1',
      'rows_4x1',
      'rows_2x1',
      'general_8x1',
    ]);
    expect(await variants(3, { stride: 2, groups: 8 }, { cpu: false })).toEqual(['general_4x1', 'general_2x1']);
  });

  it('are one where a group has one channel and nothing but the general variant takes it', async () => {
    expect(await variants(3, { channels: 32, stride: 2, groups: 32 }, {})).toEqual(['general_1x1']);
  });

  it('are refused where they do not fit', () => {
    const run = (variant: string) => () => {
      const rest = { kernelHeight: 1, kernelWidth: 1, padding: 0 };
      convForward({ ...problem, ...rest, height: 7, width: 7, variant }, engine().profile);
    };
    expect(run('general_4x1')).not.toThrow();
    for (const variant of ['plane_8x1', 'general_32x1', 'general_8x2']) {
      expect(run(variant)).toThrow(/No such variant[\s\S]*general_4x1/);
    }
  });
});

describe('conv2d', () => {
  const engine = useEngineAs({});
  const ones = (shape: number[]) => engine().full(shape, 1);

  it('gives the same weight gradient twice, to the bit', async () => {
    const c = CONV_CASES.find(({ name }) => name === 'many images, long sums')!;
    const operands = [
      { shape: c.x, data: uniform(product(c.x), 1) },
      { shape: c.weight, data: uniform(product(c.weight), 2) },
    ];
    const run = () => differentiate(engine(), operands, (x, w) => conv2d(x, w, null, c));
    const [first, second] = [await run(), await run()];
    expect(second.gradients[1]).toEqual(first.gradients[1]);
  });

  it('cuts the sum of the weight gradient where there is too little else to share out', () => {
    const [batch, channels, height, width] = [64, 8, 16, 16];
    const kernel = { kernelHeight: 1, kernelWidth: 1, stride: 1, padding: 0, groups: 1 };
    const problem = { batch, channels, height, width, filters: 8, ...kernel };
    const [{ workspace }] = convWeightGradient(problem, { ...engine().profile, cpu: false });
    expect(workspace.partial.elements).toBeGreaterThanOrEqual(64 * 8 * 8);
  });

  it('writes gradients only where they are wanted', async () => {
    const x = ones([1, 2, 3, 3]);
    const weight = ones([4, 2, 3, 3]).requiresGrad_();
    conv2d(x, weight, null, { padding: 1 }).backward(ones([1, 4, 3, 3]));
    expect(x.grad).toBeNull();
    // Ones everywhere: the number of pixels that each tap meets.
    expect([...(await weight.grad!.read())].slice(0, 9)).toEqual([4, 6, 4, 6, 9, 6, 4, 6, 4]);
  });

  it('says what does not fit', () => {
    const x = ones([1, 4, 5, 5]);
    expect(() => conv2d(x, ones([6, 4, 3, 3]), null, { groups: 2 })).toThrow(/shape-mismatch[\s\S]*8 channels/);
    expect(() => conv2d(x, ones([3, 2, 3, 3]), null, { groups: 2 })).toThrow(/filters divisible by 2/);
    expect(() => conv2d(x, ones([3, 4, 7, 3]), null)).toThrow(/larger than the padded image/);
    expect(() => conv2d(x, ones([3, 4, 3, 3]), ones([4]))).toThrow(/shape of the bias/);
    expect(() => conv2d(x, ones([3, 4, 3, 3]), null, { stride: 0 })).toThrow(/bad-argument/);
    expect(() => conv2d(ones([4, 5, 5]), ones([3, 4, 3, 3]), null)).toThrow(/four dimensions/);
  });
});
