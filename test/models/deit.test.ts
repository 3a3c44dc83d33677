/** @module-tag slow */
import { describe, expect, it } from 'vitest';
import { DeitError, add, crossEntropy, indexSelect, mul, slice, sum } from '../../engine/index.ts';
import type { Engine, Tensor } from '../../engine/index.ts';
import { distillationLoss } from '../../deit/distillation.ts';
import { VisionTransformer } from '../../deit/models/deit.ts';
import { deitConfig, dropPathRate } from '../../deit/models/deit-config.ts';
import type { Classifier } from '../../deit/models/classifier.ts';
import { createModel } from '../../deit/models/registry.ts';
import { SGD, decayGroups } from '../../nn/index.ts';
import { expectClose, relativeError } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { goldenTensors } from '../support/golden.ts';
import { goldenDistillation, goldenModel, goldenModels, goldenSmoothing } from '../support/golden-models.ts';
import type { GoldenModel } from '../support/golden-models.ts';
import { integers, sketch, uniform } from '../support/generator.ts';

const engine = useEngine();

/** spec/deit.md section 8: images (4, 4, 3), patches of 2, width 8, four classes. */
const seedCase = (depth: number): VisionTransformer =>
  new VisionTransformer(engine(), {
    ...{ imageSize: 4, patchSize: 2, width: 8, depth, heads: 2, dFf: 32, classes: 4 },
    distilled: true,
  }).eval();

/** image[y, x, c] = f(12 y + 3 x + c) as [1, 3, 4, 4]. */
function ramp(f: (value: number) => number): Tensor {
  const image = new Float32Array(48);
  for (let y = 0; y < 4; y++) {
    for (let x = 0; x < 4; x++) for (let c = 0; c < 3; c++) image[c * 16 + y * 4 + x] = f(12 * y + 3 * x + c);
  }
  return engine().tensor(image, [1, 3, 4, 4]);
}

const load = (model: VisionTransformer, values: (name: string, size: number) => ArrayLike<number>): void => {
  const state = model.stateDict();
  model.loadStateDict(new Map([...state].map(([name, t]) => [name, { shape: t.shape, data: values(name, t.size) }])));
};

const diagonal = (rows: number, columns: number, offset = 0): Float32Array =>
  Float32Array.from({ length: rows * columns }, (_, i) => (Math.floor(i / columns) - offset === i % columns ? 1 : 0));

describe('the worked examples', () => {
  /** Section 8.1: everything that is not listed is zero, norms are the identity. */
  const byHand: Record<string, ArrayLike<number>> = {
    cls_token: diagonal(1, 8),
    dist_token: diagonal(1, 8, -1),
    pos_embed: Float32Array.from({ length: 48 }, (_, i) => (i % 8 === 7 ? Math.floor(i / 8) : 0)),
    'patch_embed.proj.weight': diagonal(8, 12),
    'blocks.0.attn.qkv.weight': diagonal(24, 8, 16),
    'blocks.0.attn.proj.weight': diagonal(8, 8),
    'head.weight': diagonal(4, 8),
    'head_dist.weight': diagonal(4, 8, -4),
    'head_dist.bias': [0.1, 0.2, 0.3, 0.4],
  };

  it.each([
    [
      0,
      [2.6457392, -0.3779627, -0.3779627, -0.3779627, -0.4773487, -0.3773487, -0.2773487, 2.1320462],
      [1.0841952, -0.3776557, -0.3276557, 0.8770417],
    ],
    [
      1,
      [0.6098789, -0.6565611, 0.0969762, 0.5446831, -1.1132238, -0.7003547, 0.3382528, 2.5947662],
      [-0.2516725, -0.6784579, 0.2176145, 1.5697247],
    ],
  ])('by hand, %i blocks', async (depth, concatenation, average) => {
    const model = seedCase(depth);
    load(model, (name, size) => byHand[name] ?? new Float32Array(size).fill(/norm.*weight/.test(name) ? 1 : 0));
    const image = ramp((value) => value);
    const found = await model.forward(image, 'concatenation').read();
    // Stated to seven decimals; f32 at values up to 3 has steps of 2.4e-7, some of which add up.
    concatenation.forEach((value, i) => expect(Math.abs(found[i] - value)).toBeLessThan(2e-6));
    const mean = await (model.forward(image) as Tensor).read();
    average.forEach((value, i) => expect(Math.abs(mean[i] - value)).toBeLessThan(2e-6));
  });

  it('generated', async () => {
    const order = ['cls_token', 'dist_token', 'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias'];
    for (const block of [0, 1]) {
      for (const layer of ['norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2']) {
        order.push(`blocks.${block}.${layer}.weight`, `blocks.${block}.${layer}.bias`);
      }
    }
    for (const layer of ['norm', 'head', 'head_dist']) order.push(`${layer}.weight`, `${layer}.bias`);
    const model = seedCase(2);
    expect(model.numParameters()).toBe(2000);
    load(model, (name, size) => {
      const m = order.indexOf(name);
      const [center, scale] = !name.includes('norm') ? [0, 0.5] : name.endsWith('weight') ? [1, 0.1] : [0, 0.1];
      return Float32Array.from({ length: size }, (_, j) => center + scale * Math.sin(0.7 * j + 1.3 * m));
    });
    const image = ramp((value) => value / 48 - 0.5);
    const found = await model.forward(image, 'concatenation').read();
    const expected = [
      ...[-1.75342873, -0.97910685, 0.2453621, 1.36861549],
      ...[0.71499795, -0.13151373, -0.92750991, -1.31788825],
    ];
    // The spec's bound: an epsilon of 1e-12 differs by 3.9e-6, the tanh form of GELU by 1.7e-5.
    expected.forEach((value, i) => expect(Math.abs(found[i] - value)).toBeLessThan(2e-6));
    const mean = await (model.forward(image) as Tensor).read();
    const average = [-0.51921539, -0.55531029, -0.3410739, 0.02536362];
    average.forEach((value, i) => expect(Math.abs(mean[i] - value)).toBeLessThan(2e-6));
    const heads = model.train().forward(image);
    expect(heads).toHaveProperty('cls');
    expectClose(await (heads as { cls: Tensor }).cls.read(), found.slice(0, 4), 0);
  });
});

/** A golden case on the GPU. */
function setUp(engine: Engine, golden: GoldenModel) {
  const { batch, imageSize, classes } = golden;
  const images = uniform(golden.images, batch * 3 * imageSize ** 2, 0, 2);
  return {
    model: goldenModel(engine, golden) as VisionTransformer,
    images: engine.tensor(images, [batch, 3, imageSize, imageSize]),
    labels: engine.tensor(integers(golden.labels, batch, classes), [batch], 'i32'),
    teacher: engine.tensor(uniform(golden.teacher, batch * classes, 0, 3), [batch, classes]),
  };
}

describe('values and gradients of timm', () => {
  const goldens = goldenModels.filter(({ family }) => family === 'deit');
  // Float32 against float64: within three times the drift that PyTorch's own float32 run has (1e-7 to 3e-6), and half a
  // millionth for what drifts less than chance would have it.
  const bound = (drift: number): number => 3 * drift + 5e-7;

  it.each(goldens)('$key', async (golden) => {
    const file = goldenTensors(golden.file);
    const stored = (name: string): ArrayLike<number> => file(name).values;
    const check = async (found: Tensor, name: string): Promise<void> =>
      expectClose(await found.read(), stored(name), bound(stored(`drift.${name}`)[0]), name);
    const { model, images, labels, teacher } = setUp(engine(), golden);
    for (const [mode, kinds] of Object.entries(golden.modes) as ['train' | 'eval', string[]][]) {
      for (const kind of kinds) {
        for (const [, parameter] of model.namedParameters()) parameter.grad = null;
        model.train(mode === 'train');
        let loss: Tensor;
        if (mode === 'train') {
          const heads = model.forward(images, 'heads');
          await check(heads.cls, heads.dist ? 'train.logits_cls' : 'train.logits');
          if (heads.dist) await check(heads.dist, 'train.logits_dist');
          loss = distillationLoss(
            goldenDistillation(kind),
            heads,
            { labels, smoothing: goldenSmoothing },
            teacher,
          ).total;
        } else {
          const logits = model.forward(images) as Tensor;
          await check(logits, 'eval.logits');
          loss = crossEntropy(logits, labels, { labelSmoothing: goldenSmoothing });
        }
        loss.backward();
        await check(loss, `loss.${mode}.${kind}`);
        await checkGradients(model, golden, stored, `${mode}.${kind}`);
      }
    }
  });

  async function checkGradients(
    model: VisionTransformer,
    { gradients, gradientNames }: GoldenModel,
    stored: (name: string) => ArrayLike<number>,
    group: string,
  ): Promise<void> {
    const drift = stored(`drift.grad.${group}`);
    const parameters = new Map(model.namedParameters());
    const names = gradientNames[group];
    const without = [...parameters].filter(([name]) => !names.includes(name));
    expect(without.filter(([, { grad }]) => grad !== null)).toEqual([]);
    const found = await Promise.all(names.map((name) => parameters.get(name)!.grad!.read()));
    names.forEach((name, i) => {
      if (gradients === 'full') {
        expectClose(found[i], stored(`grad.${group}.${name}`), bound(drift[i]), `${group} ${name}`);
        return;
      }
      const { norm, projections, elements } = sketch(name, found[i]);
      const expected = stored(`norm.${group}`)[i];
      expect(Math.abs(norm / expected - 1), `${group} ${name}`).toBeLessThan(bound(drift[i]));
      // A projection on random signs differs by the length of the difference times a standard normal.
      const row = Array.from(stored(`projections.${group}`)).slice(16 * i, 16 * i + 16);
      const error = relativeError(projections, row) * Math.hypot(...row);
      expect(error / (expected * Math.sqrt(16)), `${group} ${name}`).toBeLessThan(3 * bound(drift[i]));
      const few = Array.from(stored(`elements.${group}`)).slice(64 * i, 64 * i + 64);
      const share = Math.hypot(...few.map((value, j) => value - elements[j])) / expected;
      expect(share, `${group} ${name}`).toBeLessThan(bound(drift[i]));
    });
  }
});

describe('DeiT', () => {
  it('refuses images of another size', () => {
    const model = seedCase(1);
    expect(() => model.forward(engine().zeros([1, 3, 8, 8]))).toThrow(DeitError);
    expect(() => model.forward(engine().zeros([1, 3, 8, 8]))).toThrow(/\[1, 3, 4, 4\]/);
    expect(() => model.forward(engine().zeros([3, 4, 4]))).toThrow(/batch, channels, height, width/);
  });

  /** Whose second block drops half of its branches. */
  function dropping(): VisionTransformer {
    const name = 'deit_tiny_patch16_224 img_size=8 patch_size=4 embed_dim=12 depth=2 num_heads=2';
    const model = createModel(engine(), name, { classes: 3, dropPath: 0.5 }) as VisionTransformer;
    load(model, (parameter, size) => uniform(parameter, size, 0, 0.5));
    return model;
  }

  it('has the slope that its gradients say where branches are dropped', async () => {
    const model = dropping().train();
    const images = engine().tensor(uniform('images', 16 * 192), [16, 3, 8, 8]);
    const upstream = engine().tensor(uniform('upstream', 16 * 3), [16, 3]);
    engine().setStep(3);
    const loss = () => sum(mul(model.heads(images).cls, upstream));
    loss().backward();
    const parameters = [...model.namedParameters()];
    const directions = parameters.map(([name, { size }]) => uniform(`${name}, direction`, size));
    const gradients = await Promise.all(parameters.map(([, { grad }]) => grad!.read()));
    let expected = 0;
    gradients.forEach((own, i) => Array.from(own).forEach((value, j) => (expected += value * directions[i][j])));
    const values = await Promise.all(parameters.map(([, parameter]) => parameter.read()));
    const lossAt = async (distance: number): Promise<number> => {
      parameters.forEach(([, parameter], i) =>
        parameter.write(Float32Array.from(values[i], (value, j) => value + distance * directions[i][j])),
      );
      return (await loss().read())[0];
    };
    const h = 2 ** -9;
    const slope = ((await lossAt(h)) - (await lossAt(-h))) / (2 * h);
    // A loss of the order of 1, off by some 1e-6, over a distance of 2 h: 3e-4 of a slope of 5 is four times that.
    expect(Math.abs(slope - expected)).toBeLessThan(3e-4 * Math.abs(expected));
  });

  it('drops whole branches of samples in training, never those of the first block, and nothing in evaluation', async () => {
    const model = dropping();
    const image = uniform('image', 192);
    const batch = 64;
    const images = engine().tensor(
      Float32Array.from({ length: 192 * batch }, (_, i) => image[i % 192]),
      [batch, 3, 8, 8],
    );
    const distinct = async (logits: Tensor): Promise<number> => {
      const values = await logits.read();
      return new Set(Array.from({ length: batch }, (_, i) => values.slice(3 * i, 3 * i + 3).join())).size;
    };
    engine().setStep(3);
    // Two branches that can be dropped: four outcomes, each of 64 samples one of them.
    expect(await distinct(model.train().heads(images).cls)).toBe(4);
    expect(await distinct(model.eval().heads(images).cls)).toBe(1);
  });

  it('raises stochastic depth linearly over the blocks', () => {
    const config = deitConfig({ dropPath: 0.1 });
    const rates = Array.from({ length: 12 }, (_, block) => dropPathRate(config, block));
    // spec/deit.md section 4.
    const expected = [0, 0.00909, 0.01818, 0.02727, 0.03636, 0.04545, 0.05455, 0.06364, 0.07273, 0.08182, 0.09091, 0.1];
    rates.forEach((rate, block) => expect(rate).toBeCloseTo(expected[block], 5));
    expect(dropPathRate(deitConfig({ dropPath: 0.1, depth: 1 }), 0)).toBe(0);
  });

  it('drops out in training alone, at every place another mask', async () => {
    const spec = 'deit_tiny_patch16_224 img_size=8 patch_size=4 embed_dim=12 depth=1 num_heads=2 num_classes=3';
    const model = createModel(engine(), spec);
    const dropping = createModel(engine(), `${spec} drop_rate=0.25`);
    const images = engine().tensor(uniform('image', 192), [1, 3, 8, 8]);
    const logits = async (which: Classifier): Promise<number[]> => [...(await which.heads(images).cls.read())];
    const plain = await logits(model);
    engine().setStep(1);
    const first = await logits(dropping.train());
    engine().setStep(2);
    const second = await logits(dropping);
    expect(first).not.toEqual(plain);
    expect(second).not.toEqual(first);
    expect(await logits(dropping.eval())).toEqual(plain);
  });

  it('gathers the gradients of micro-batches in their places', async () => {
    const golden = goldenModels.find(({ key }) => key === 'deit_distilled')!;
    const { model, images, labels } = setUp(engine(), golden);
    const optimizer = new SGD(decayGroups(model.namedParameters(), 0));
    const half = golden.batch / 2;
    const part = (tensor: Tensor, index: number): Tensor =>
      tensor.dtype === 'i32' ? indexSelect(tensor, 0, rows(index)) : slice(tensor, 0, index * half, (index + 1) * half);
    const rows = (index: number): Tensor =>
      engine().tensor(
        Array.from({ length: half }, (_, i) => index * half + i),
        [half],
        'i32',
      );
    const loss = (x: Tensor, y: Tensor): Tensor => {
      const { cls, dist } = model.heads(x);
      return add(crossEntropy(cls, y), crossEntropy(dist!, y));
    };
    const gradients = async (): Promise<number[]> =>
      (await Promise.all(model.parameters().map(({ grad }) => grad!.read()))).flatMap((data) => [...data]);
    optimizer.zeroGrad();
    loss(images, labels).backward();
    const whole = await gradients();
    optimizer.zeroGrad();
    for (const index of [0, 1]) loss(part(images, index), part(labels, index)).backward();
    const gathered = await gradients();
    expect(model.parameters().every(({ grad, gradHome }) => grad === gradHome)).toBe(true);
    // The loss is a mean over the batch, so the sum over two halves is twice it. Sums in another order: roundings of f32.
    expectClose(
      gathered,
      whole.map((x) => 2 * x),
      2e-6,
    );
    optimizer.free();
  });

  it('gives a frozen backbone no gradient, and the heads theirs', async () => {
    const golden = goldenModels.find(({ key }) => key === 'deit_distilled')!;
    const { model, images, labels } = setUp(engine(), golden);
    const run = async (): Promise<number[]> => {
      const { cls, dist } = model.heads(images);
      add(crossEntropy(cls, labels), crossEntropy(dist!, labels)).backward();
      return [...(await model.stateDict().get('head_dist.weight')!.grad!.read())];
    };
    const before = await run();
    for (const [name, parameter] of model.namedParameters()) {
      parameter.grad = null;
      parameter.requiresGrad_(name.startsWith('head'));
    }
    expect(await run()).toEqual(before);
    const trained = model.namedParameters().filter(([, { grad }]) => grad);
    expect(trained.map(([name]) => name)).toEqual(['head.weight', 'head.bias', 'head_dist.weight', 'head_dist.bias']);
  });
});
