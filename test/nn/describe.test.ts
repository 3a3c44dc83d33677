/** What modules say of shapes, against what their forward passes make of a batch of two. */
import { expect, it } from 'vitest';
import type { Engine, Shape } from '../../engine/index.ts';
import {
  AdaptiveAvgPool2d,
  BatchNorm2d,
  Conv2d,
  describeModule,
  Dropout,
  Embedding,
  Flatten,
  GELU,
  GroupNorm,
  LayerNorm,
  Linear,
  ReLU,
  Sequential,
} from '../../nn/index.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

/** A module, the shape of one input, and the multiply-adds by hand. */
const CASES: readonly (readonly [string, (engine: Engine) => Pick<Linear, 'describe' | 'forward'>, Shape, number])[] = [
  ['Linear', (e) => new Linear(e, 3, 5), [7, 3], 7 * 3 * 5],
  ['Conv2d', (e) => new Conv2d(e, 4, 6, 3), [4, 9, 8], 7 * 6 * 6 * 4 * 9],
  ['Conv2d', (e) => new Conv2d(e, 4, 6, 3, { stride: 2, padding: 1, groups: 2 }), [4, 9, 8], 5 * 4 * 6 * 2 * 9],
  ['BatchNorm2d', (e) => new BatchNorm2d(e, 3), [3, 4, 5], 0],
  ['LayerNorm', (e) => new LayerNorm(e, 6), [5, 6], 0],
  ['GroupNorm', (e) => new GroupNorm(e, 2, 4), [4, 3, 3], 0],
  ['GELU', () => new GELU(), [5, 6], 0],
  ['Dropout', () => new Dropout(0.5), [5, 6], 0],
  ['Flatten', () => new Flatten(), [2, 3, 4], 0],
  ['AdaptiveAvgPool2d', () => new AdaptiveAvgPool2d(), [3, 4, 5], 0],
];

it.each(CASES)('%s: the shape of its output, and multiply-adds', (type, make, shape, multiplyAdds) => {
  const module = make(engine());
  const found = module.describe(shape);
  expect([found.type, found.multiplyAdds ?? 0]).toEqual([type, multiplyAdds]);
  expect([2, ...found.outputShape]).toEqual(engine().scope(() => module.forward(engine().zeros([2, ...shape])).shape));
});

it('Embedding: a vector for each index', () => {
  const table = new Embedding(engine(), 10, 3);
  expect(table.describe([4]).outputShape).toEqual([4, 3]);
  expect(table.forward(engine().tensor(new Int32Array(8), [2, 4], 'i32')).shape).toEqual([2, 4, 3]);
});

it('a chain: each part is given what the one before it makes, and the whole has their sum', () => {
  const e = engine();
  const model = new Sequential(
    new Conv2d(e, 3, 4, 3, { padding: 1 }),
    new BatchNorm2d(e, 4),
    new ReLU(),
    new AdaptiveAvgPool2d(),
    new Flatten(),
    new Linear(e, 4, 10),
  );
  const { layers, parameters, multiplyAdds } = describeModule(model.describe([3, 5, 6]));
  expect(layers.map(({ path, depth, type, outputShape }) => [path, depth, type, outputShape])).toEqual([
    ['', 0, 'Sequential', [10]],
    ['0', 1, 'Conv2d', [4, 5, 6]],
    ['1', 1, 'BatchNorm2d', [4, 5, 6]],
    ['2', 1, 'ReLU', [4, 5, 6]],
    ['3', 1, 'AdaptiveAvgPool2d', [4, 1, 1]],
    ['4', 1, 'Flatten', [4]],
    ['5', 1, 'Linear', [10]],
  ]);
  expect([parameters, multiplyAdds]).toEqual([3 * 4 * 9 + 4 + 8 + 50, 5 * 6 * 4 * 27 + 40]);
});
