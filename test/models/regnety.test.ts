/** @module-tag slow */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Precision } from '../../deit/models/classifier.ts';
import { RegNetY } from '../../deit/models/regnety.ts';
import type { RegNetYConfig } from '../../deit/models/regnety-config.ts';
import { crossEntropy, parseSafetensors, storedElements } from '../../engine/node.ts';
import { expectClose, relativeError } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { integers, sketch, uniform, weight } from '../support/generator.ts';
import { HALF_UNIT, f16Tests } from '../support/f16.ts';

interface GoldenModel {
  readonly key: string;
  readonly file: string;
  readonly family: string;
  readonly batch: number;
  readonly imageSize: number;
  readonly classes: number;
  readonly options: Partial<RegNetYConfig>;
  readonly images: string;
  readonly labels: string;
  /** Added to the shift of every norm in training mode. */
  readonly shift?: number;
  readonly gradients: 'full' | 'sketch';
  readonly gradientNames: Readonly<Record<string, string[]>>;
}

const golden = (file: string) => readFileSync(new URL(`../golden/${file}`, import.meta.url));
const { models, smoothing } = JSON.parse(golden('models.json').toString()) as {
  models: GoldenModel[];
  smoothing: number;
};

describe.each(models.filter(({ family }) => family === 'regnety'))('$key against timm in float64', (model) => {
  const engine = useEngine();
  const { tensors } = parseSafetensors(golden(model.file));
  const stored = (name: string): ArrayLike<number> => {
    const tensor = tensors.get(name);
    if (!tensor) throw new Error(`no golden tensor ${name}`);
    return storedElements(tensor) as ArrayLike<number>;
  };
  const { batch, imageSize, classes } = model;

  /** A loss scale of f16, large enough that few gradients are below its normal numbers. */
  const SCALE = 4096;

  async function run(training: boolean, precision: Precision = 'f32') {
    const net = engine().scope(() => new RegNetY(engine(), { ...model.options, classes }));
    net.loadStateDict(
      new Map(
        [...net.stateDict()].map(([name, { shape }]) => {
          const shift = training && name.endsWith('bn.bias') ? (model.shift ?? 0) : 0;
          return [name, { shape, data: weight(name, shape).map((value) => value + shift) }];
        }),
      ),
    );
    net.train(training);
    net.precision = precision;
    const scale = precision === 'f16' ? SCALE : 1;
    const [logits, loss, ...gradients] = await engine().scope(() => {
      const shape = [batch, 3, imageSize, imageSize];
      const images = engine().tensor(uniform(model.images, batch * 3 * imageSize ** 2, 0, 2), shape);
      const labels = engine().tensor(integers(model.labels, batch, classes), [batch], 'i32');
      const y = net.forward(images);
      const objective = crossEntropy(y, labels, { labelSmoothing: smoothing });
      objective.backward(engine().full([], scale));
      return Promise.all([y.read(), objective.read(), ...net.parameters().map(({ grad }) => grad!.read())]);
    });
    const names = net.namedParameters().map(([name]) => name);
    const unscaled = gradients.map((gradient) => Float32Array.from(gradient, (value) => value / scale));
    return { net, logits, loss, gradients: new Map(names.map((name, i) => [name, unscaled[i]])) };
  }

  /**
   * Where every ReLU behind the shift of a norm lets all through, the next norm takes the shift out again: its gradient is
   * zero in truth, and noise in floats, which is measured by the gradient of the scale beside it.
   */
  const isZero = (mode: string, index: number): boolean =>
    model.gradients === 'sketch' && stored(`norm.${mode}.none`)[index] < 1e-12;

  /** Error of a gradient, or of its random projections, which stand for it. */
  function gradientError(mode: string, name: string, index: number, found: ArrayLike<number>): number {
    if (model.gradients === 'full') return relativeError(found, stored(`grad.${mode}.none.${name}`));
    const projections = Array.from(stored(`projections.${mode}.none`)).slice(16 * index, 16 * index + 16);
    if (isZero(mode, index)) {
      const scale = model.gradientNames[`${mode}.none`].indexOf(name.replace(/bias$/, 'weight'));
      return sketch(name, found).norm / stored(`norm.${mode}.none`)[scale];
    }
    return relativeError(sketch(name, found).projections, projections);
  }

  it.each(['eval', 'train'])('%s: logits, loss, the gradient of every parameter', async (mode) => {
    const { net, logits, loss, gradients } = await run(mode === 'train');
    // PyTorch's own f32 run strays by the golden drift; ours rounds in another order.
    const drift = (name: string): ArrayLike<number> => stored(`drift.${name}`);
    expectClose(logits, stored(`${mode}.logits`), 4 * drift(`${mode}.logits`)[0] + 5e-7, 'logits');
    expectClose(loss, stored(`loss.${mode}.none`), 4 * drift(`loss.${mode}.none`)[0] + 5e-7, 'loss');
    const drifts = drift(`grad.${mode}.none`);
    model.gradientNames[`${mode}.none`].forEach((name, i) => {
      const error = gradientError(mode, name, i, gradients.get(name)!);
      expect(error, name).toBeLessThanOrEqual(isZero(mode, i) ? 1e-5 : 6 * drifts[i] + 2e-6);
    });
    expect([...gradients.keys()].sort()).toEqual([...model.gradientNames[`${mode}.none`]].sort());
    if (mode === 'eval') return;
    for (const [name, buffer] of net.namedBuffers()) {
      expectClose(await buffer.read(), stored(`after.${name}`), 4 * drift(`after.${name}`)[0] + 5e-7, name);
    }
  });

  /** Logits of a model that nobody asks for gradients, and the kernels that it takes. */
  async function frozen(net: RegNetY): Promise<{ logits: ArrayLike<number>; kernels: string[] }> {
    const data = uniform(model.images, batch * 3 * imageSize ** 2, 0, 2);
    const images = engine().tensor(data, [batch, 3, imageSize, imageSize]);
    const kernels: string[] = [];
    const y = engine().observe(
      ({ kernel }) => kernels.push(kernel),
      () => engine().noGrad(() => net.forward(images)),
    );
    return { logits: await y.read(), kernels };
  }

  it('frozen, with norms folded into convolutions: the same logits', async () => {
    // With gradients, hence with norms of their own.
    const { net, logits } = await run(false);
    const { logits: folded, kernels } = await frozen(net);
    expect(kernels.filter((name) => name.startsWith('batch_norm'))).toEqual([]);
    expectClose(folded, logits, 1e-6, 'logits');
    expectClose(folded, stored('eval.logits'), 4 * stored('drift.eval.logits')[0] + 5e-7, 'logits of timm');
  });

  /*
   * In f16 each convolution rounds x, weight and y, and backward dy, dx in the product and the gradient before it: errors of
   * 0.42 x 2^-11 in the root of their mean square (uniform within the spacing), of either sign, that add up like their root.
   */
  const layers = 2 + 3 * (model.options.depth ?? 0);
  const roundings = (count: number): number => 0.42 * HALF_UNIT * Math.sqrt(count * layers);
  const withF16 = f16Tests(engine);

  withF16('f16: logits, in evaluation mode', async () => {
    const { logits, loss } = await run(false, 'f16');
    const error = relativeError(logits, stored('eval.logits'));
    expect(error).toBeLessThanOrEqual(roundings(3));
    // It did compute on f16: f32 strays by 1e-6.
    expect(error).toBeGreaterThan(1e-5);
    expectClose(loss, stored('loss.eval.none'), roundings(3), 'loss');
  });

  withF16('f16, frozen: the same logits, from convolutions that hand on f16', async () => {
    const { net } = await run(false, 'f16');
    const { logits: folded, kernels } = await frozen(net);
    expectClose(folded, stored('eval.logits'), roundings(3), 'logits');
    // Images are rounded once, and the sums between blocks for their convolutions: not what lies between these.
    const blocks = model.options.depth ?? 0;
    expect(kernels.filter((name) => name.startsWith('cast')).length).toBeLessThanOrEqual(2 + 2 * blocks);
  });

  // A ReLU that an error of f16 opens or shuts is a whole gradient more or less: where none is near its kink, all can be compared.
  if (model.shift === undefined) return;
  const shift = model.shift;
  withF16('f16: logits, loss and the gradient of every parameter, in training mode', async () => {
    const { logits, loss, gradients } = await run(true, 'f16');
    // What is rounded is `shift` from zero and varies by 1 around it: errors are so much larger beside what varies.
    const far = Math.sqrt(1 + shift ** 2);
    expectClose(logits, stored('train.logits'), far * roundings(3), 'logits');
    expectClose(loss, stored('loss.train.none'), far * roundings(3), 'loss');
    const errors = model.gradientNames['train.none'].map((name, i) => {
      const error = gradientError('train', name, i, gradients.get(name)!);
      // Gates and shifts of norms sum terms of both signs, which leaves a quarter of their size.
      expect(error, name).toBeLessThanOrEqual(4 * far * roundings(6));
      return error;
    });
    errors.sort((a, b) => a - b);
    expect(errors[errors.length >> 1]).toBeLessThanOrEqual(far * roundings(6));
  });
});

describe('RegNetY', () => {
  const engine = useEngine();
  const tiny = { w0: 8, wa: 8, wm: 1.8, depth: 6, groupWidth: 8, classes: 5 };

  it('starts as timm does', async () => {
    const net = new RegNetY(engine(), { ...tiny, w0: 64, wa: 64, groupWidth: 16 });
    const state = net.stateDict();
    const read = async (name: string): Promise<number[]> => [...(await state.get(name)!.read())];
    const std = (values: number[]): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
    expect(new Set(await read('s2.b1.conv3.bn.weight'))).toEqual(new Set([0]));
    expect(new Set(await read('s2.b1.conv2.bn.weight'))).toEqual(new Set([1]));
    expect(new Set(await read('s2.b1.se.fc1.bias'))).toEqual(new Set([0]));
    expect(new Set(await read('head.fc.bias'))).toEqual(new Set([0]));
    // A 3x3 convolution in groups of 16: sqrt(2 / (9 * 16)), within four standard errors of several thousand draws.
    expect(std(await read('s2.b1.conv2.conv.weight')) / Math.sqrt(2 / (9 * 16))).toBeCloseTo(1, 1);
    expect(std(await read('head.fc.weight')) / 0.01).toBeCloseTo(1, 0);
    const branches = new RegNetY(engine(), { ...tiny, zeroInitLast: false }).stateDict();
    expect((await branches.get('s1.b1.conv3.bn.weight')!.read())[0]).toBe(1);
  });

  it('takes small images, and keeps their resolution longer with stem stride 1', () => {
    const images = engine().full([2, 3, 32, 32], 1);
    const last = (stemStride: number) =>
      new RegNetY(engine(), { ...tiny, w0: 24, wa: 36.44, wm: 2.49, depth: 13, stemStride }).features(images).shape;
    expect(last(2)).toEqual([2, 368, 1, 1]);
    expect(last(1)).toEqual([2, 368, 2, 2]);
  });

  it('gives evaluation logits that do not depend on the batch', async () => {
    const net = new RegNetY(engine(), tiny).eval();
    const images = engine().tensor(uniform('images', 3 * 3 * 40 * 40, 0, 1), [3, 3, 40, 40]);
    const one = engine().tensor(uniform('images', 3 * 40 * 40, 0, 1), [1, 3, 40, 40]);
    const all = await net.forward(images).read();
    expectClose(await net.heads(one).cls.read(), [...all].slice(0, 5), 1e-6);
  });

  it('refuses images with other channels', () => {
    const net = new RegNetY(engine(), { ...tiny, inChans: 1 });
    expect(() => net.forward(engine().full([1, 3, 32, 32], 1))).toThrow(/shape-mismatch[\s\S]*\[batch, 1, height/);
  });
});
