import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { checkpoint, mul, relu, sum } from '../../engine/index.ts';
import type { Engine, Tensor, DeitError } from '../../engine/index.ts';
import {
  AdamW,
  AdaptiveAvgPool2d,
  AvgPool2d,
  Conv2d,
  ConvTranspose2d,
  Dropout,
  Embedding,
  Flatten,
  GroupNorm,
  LayerNorm,
  Linear,
  MaxPool2d,
  Module,
  ModuleList,
  ReLU,
  SGD,
  Sequential,
} from '../../nn/index.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();
const names = (module: Module): string[] => module.namedParameters().map(([name]) => name);

function failure(work: () => unknown): DeitError {
  try {
    work();
  } catch (error) {
    return error as DeitError;
  }
  throw new Error('nothing was thrown');
}

/** Everything by assignment, nothing by name. */
class Assigned extends Module {
  scale: Tensor;
  constant: Tensor;
  fc: Linear;
  blocks: ModuleList<Linear>;
  tied: Tensor;

  constructor(engine: Engine) {
    super();
    this.scale = engine.full([2], 3).requiresGrad_();
    this.constant = engine.full([2], 5);
    this.fc = new Linear(engine, 2, 2);
    this.blocks = new ModuleList([0, 1].map(() => new Linear(engine, 2, 2, { bias: false })));
    this.tied = this.fc.weight;
  }
}

describe('registration by assignment', () => {
  // As PyTorch names and orders them: own parameters first, a shared one once, a plain tensor not at all.
  it('names fields, keeps frozen ones, and follows what is assigned later', () => {
    const model = new Assigned(engine());
    expect(names(model)).toEqual(['scale', 'tied', 'fc.bias', 'blocks.0.weight', 'blocks.1.weight']);
    expect(model.eval().blocks.at(-1).training).toBe(false);
    model.scale.requiresGrad_(false);
    expect(names(model)).toContain('scale');
    model.fc = new Linear(engine(), 2, 7);
    expect(names(model).indexOf('fc.bias')).toBe(names(model).indexOf('blocks.0.weight') - 1);
    expect(model.numParameters()).toBe(2 + 4 + (14 + 7) + 4 + 4);
    model.blocks.append(new Linear(engine(), 1, 1));
    expect(names(model)).toContain('blocks.2.bias');
    (model as unknown as { fc: null }).fc = null;
    expect(names(model).some((name) => name.startsWith('fc.'))).toBe(false);
  });

  it('a replaced part that was registered by name gives its name to the new one', () => {
    class Named extends Module {
      head = this.child('head', new Linear(engine(), 2, 3));
    }
    const model = new Named();
    model.head = new Linear(engine(), 2, 5);
    expect(model.stateDict().get('head.weight')!.shape).toEqual([5, 2]);
    expect(names(model)).toEqual(['head.weight', 'head.bias']);
  });

  it.each([
    ['an array', () => [new Linear(engine(), 1, 1)]],
    ['an array', () => [engine().full([1], 1).requiresGrad_()]],
    ['an object', () => ({ a: new Linear(engine(), 1, 1) })],
    ['an object', () => new Map([['a', new Linear(engine(), 1, 1)]])],
  ])('modules or parameters in %s name the field', (found, make) => {
    class Hidden extends Module {
      layers = make();
    }
    const { code, details } = failure(() => new Hidden().parameters());
    expect([code, details.where, details.found]).toEqual(['bad-argument', 'Hidden.layers', found]);
  });

  it('a parameter that a scope has released names the field', () => {
    class Late extends Module {
      scale = engine().scope(() => engine().full([1], 1).requiresGrad_());
    }
    expect(failure(() => new Late().parameters()).details.where).toBe('Late.scale');
  });
});

describe('containers and small layers', () => {
  it('Sequential computes in order and names by place, functions included', async () => {
    const model = new Sequential(
      new Linear(engine(), 2, 2),
      relu,
      new Sequential(new ReLU(), new Linear(engine(), 2, 1)),
    );
    expect(names(model)).toEqual(['0.weight', '0.bias', '2.1.weight', '2.1.bias']);
    const values = new Map([
      ['0.weight', { shape: [2, 2], data: [1, 2, 3, 4] }],
      ['0.bias', { shape: [2], data: [0, -20] }],
      ['2.1.weight', { shape: [1, 2], data: [2, 5] }],
      ['2.1.bias', { shape: [1], data: [1] }],
    ]);
    model.loadStateDict(values);
    // relu([1 2; 3 4] [1 1] - [0 20]) = [3 0], then 2 * 3 + 1.
    expect(await model.forward(engine().tensor([[1, 1]])).array()).toEqual([[7]]);
    expect(model.describe([2]).outputShape).toEqual([1]);
  });

  it('Embedding takes rows, of any shape of indices, and adds the gradients of equal ones', async () => {
    const table = new Embedding(engine(), 3, 2);
    table.weight.write([0, 1, 10, 11, 20, 21]);
    const y = table.forward(
      engine().tensor(
        [
          [2, 0],
          [2, 1],
        ],
        undefined,
        'i32',
      ),
    );
    expect(await y.array()).toEqual([
      [
        [20, 21],
        [0, 1],
      ],
      [
        [20, 21],
        [10, 11],
      ],
    ]);
    sum(y).backward();
    expect(await table.weight.grad!.array()).toEqual([
      [1, 1],
      [1, 1],
      [2, 2],
    ]);
  });

  it('AdaptiveAvgPool2d takes means of channels, Flatten keeps the batch', async () => {
    const x = engine().tensor([
      [
        [
          [1, 2],
          [3, 6],
        ],
        [
          [0, 0],
          [0, 8],
        ],
      ],
    ]);
    const head = new Sequential(new AdaptiveAvgPool2d(1), new Flatten());
    expect(await head.forward(x).array()).toEqual([[3, 2]]);
    expect(failure(() => new AdaptiveAvgPool2d(7)).code).toBe('bad-argument');
  });

  it('Dropout draws anew at each call, divides by what is kept, and does nothing in evaluation', async () => {
    const [layer, ones] = [new Dropout(0.25), engine().full([4000], 1)];
    const [first, second] = [await layer.forward(ones).array<number[]>(), await layer.forward(ones).array<number[]>()];
    const kept = first.filter((value) => value !== 0);
    expect(new Set(kept.map((value) => value.toFixed(5)))).toEqual(new Set(['1.33333']));
    // 3000 expected; five standard deviations of a binomial: 5 * sqrt(4000 * 0.25 * 0.75) = 137.
    expect(Math.abs(kept.length - 3000)).toBeLessThan(137);
    expect(second).not.toEqual(first);
    expect(layer.eval().forward(ones)).toBe(ones);
  });

  it('Dropout inside a checkpointed segment is the same mask in both passes', async () => {
    const layer = new Dropout(0.5);
    const x = engine().full([64], 1).requiresGrad_();
    const y = checkpoint((input) => mul(layer.forward(input), 3), x, []);
    sum(y).backward();
    expect(await x.grad!.array()).toEqual(await y.array());
  });

  it('console.log shows types and shapes, parts that look alike once, whether registered by name or by assignment', () => {
    class Net extends Module {
      body = new Sequential(new Linear(engine(), 3, 4), new Linear(engine(), 3, 4), new ReLU());
      scale = engine().ones([3]).requiresGrad_();
      twin = new LayerNorm(engine(), 4);
      other = new LayerNorm(engine(), 4);
    }
    expect(inspect(new Net())).toBe(`Net(scale [3]
  body: Sequential(
    0 to 1: 2 x Linear(weight [4, 3], bias [4])
    2: ReLU()
  )
  twin: LayerNorm(weight [4], bias [4])
  other: LayerNorm(weight [4], bias [4])
)`);
  });

  it('a part that is none says where', () => {
    const wrong = () => new Sequential(new Linear(engine(), 1, 1), undefined as unknown as Linear);
    expect(failure(wrong).details.where).toBe('Sequential, "1"');
    expect(failure(() => new Sequential(new ModuleList() as unknown as Linear)).message).toContain('no forward(x)');
  });
});

describe('optimizers as in PyTorch', () => {
  // With a gradient of 1 everywhere, m / (1 - beta1^t) = sqrt(v / (1 - beta2^t)) = 1: w <- w (1 - lr decay) - lr.
  it('AdamW(model.parameters(), { lr }) counts its steps without prepareStep', async () => {
    const layer = new LayerNorm(engine(), 2);
    const optimizer = new AdamW(layer.parameters(), { lr: 0.1 });
    let expected = 1;
    for (let step = 0; step < 4; step++) {
      engine().scope(() => {
        optimizer.zeroGrad();
        sum(layer.weight.add(layer.bias)).backward();
        optimizer.step();
      });
      expected = expected * (1 - 0.1 * 0.01) - 0.1;
    }
    expect((await layer.weight.array<number[]>())[0]).toBeCloseTo(expected, 5);
    expect(optimizer.steps).toBe(4);
    expect([...optimizer.stateDict().keys()]).toContain('exp_avg.weight');
    optimizer.free();
  });

  it('takes named parameters and groups alike, leaves out frozen ones, and decays by default as PyTorch', async () => {
    const layer = new Linear(engine(), 1, 1);
    layer.bias!.requiresGrad_(false);
    for (const given of [layer.namedParameters(), layer.parameters(), [{ parameters: [layer.weight] }]]) {
      layer.weight.write([2]);
      const optimizer = new SGD(given, { lr: 0.5, weightDecay: 0.25 });
      engine().scope(() => {
        sum(mul(layer.weight, 3)).backward();
        optimizer.step();
      });
      // 2 - 0.5 * (3 + 0.25 * 2)
      expect(await layer.weight.item()).toBeCloseTo(0.25, 6);
      optimizer.free();
      layer.weight.grad = null;
    }
    expect(failure(() => new SGD([layer.bias!])).message).toContain('only frozen ones');
    expect(failure(() => new SGD([3 as unknown as Tensor])).message).toContain('model.parameters()');
  });

  it('a recorded step without prepareStep is a first one; a second such one is refused', async () => {
    const x = engine().tensor([1]).requiresGrad_();
    const optimizer = new SGD([x], { lr: 0.5 });
    const work = (): void => {
      optimizer.zeroGrad();
      sum(x).backward();
      optimizer.step();
    };
    const recording = engine().record(work);
    expect(await x.item()).toBe(0.5);
    expect(optimizer.steps).toBe(1);
    expect(failure(() => engine().record(work)).message).toContain('prepareStep()');
    optimizer.prepareStep(0.25);
    engine().replay(recording);
    expect(await x.item()).toBe(0.25);
  });
});

describe('first values', () => {
  // PyTorch: uniform up to 1 / sqrt(the inputs of an output), which of many hundred numbers the largest comes near to.
  it.each([
    ['Linear', () => new Linear(engine(), 50, 20), 50],
    ['Conv2d', () => new Conv2d(engine(), 4, 30, 3), 4 * 9],
    ['Conv2d in groups', () => new Conv2d(engine(), 8, 30, 3, { groups: 2 }), 4 * 9],
  ] as const)('%s', async (_name, make, inputs) => {
    const largest = Math.max(...(await make().weight.read()).map(Math.abs)) * Math.sqrt(inputs);
    expect(largest).toBeLessThanOrEqual(1);
    expect(largest).toBeGreaterThan(0.97);
  });

  it('are refused to a layer without inputs', () => {
    expect(() => new Linear(engine(), 0, 3)).toThrow(/A layer has inputs/);
  });
});

describe('pooling, group norm and transposed convolution', () => {
  const image = (side: number) =>
    engine().tensor(
      Array.from({ length: side * side }, (_, i) => i + 1),
      [1, 1, side, side],
    );

  // By hand, as PyTorch's layers of the same names give them.
  it('pool by windows, with the options of PyTorch', async () => {
    expect([...(await new MaxPool2d(2).forward(image(4)).read())]).toEqual([6, 8, 14, 16]);
    expect([...(await new MaxPool2d(2, { ceilMode: true }).forward(image(3)).read())]).toEqual([5, 6, 8, 9]);
    expect([...(await new MaxPool2d(2, { stride: 1, dilation: 2 }).forward(image(3)).read())]).toEqual([9]);
    expect([...(await new AvgPool2d(2).forward(image(4)).read())]).toEqual([3.5, 5.5, 11.5, 13.5]);
    const corner = new AvgPool2d(2, { padding: 1, countIncludePad: false, ceilMode: true });
    expect([...(await corner.forward(image(2)).read())]).toEqual([1, 2, 3, 4]);
    expect(() => new MaxPool2d(2, { stride: 1, dilation: 2, padding: 1 }).forward(image(1))).toThrow(
      'pixels in every window',
    );
  });

  it('normalise groups of channels', async () => {
    const layer = new GroupNorm(engine(), 2, 4, { eps: 0 });
    expect(names(layer)).toEqual(['weight', 'bias']);
    layer.weight!.write(Float32Array.of(1, 2, 3, 4));
    layer.bias!.write(Float32Array.of(0, 0, 1, 1));
    // Groups {1, 3} and {10, 14}: each is -1 and 1 when normalised.
    const y = await layer.forward(engine().tensor([1, 3, 10, 14], [1, 4])).read();
    [-1, 2, -2, 5].forEach((value, i) => expect(y[i]).toBeCloseTo(value, 5));
    expect(names(new GroupNorm(engine(), 2, 4, { affine: false }))).toEqual([]);
  });

  it('spread pixels over a larger image', async () => {
    const layer = new ConvTranspose2d(engine(), 1, 1, 2, { stride: 2 });
    expect(layer.weight.shape).toEqual([1, 1, 2, 2]);
    layer.weight.write(Float32Array.of(1, 2, 3, 4));
    layer.bias!.write(Float32Array.of(10));
    const y = layer.forward(engine().tensor([1, 2], [1, 1, 1, 2]));
    expect(y.shape).toEqual([1, 1, 2, 4]);
    expect([...(await y.read())]).toEqual([11, 12, 12, 14, 13, 14, 16, 18]);
    // Bounds of PyTorch's first values: 1 / sqrt(out / groups * kernel^2).
    const wide = new ConvTranspose2d(engine(), 8, 4, 3, { groups: 2 });
    expect(Math.max(...(await wide.weight.read()).map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(18));
    expect(wide.weight.shape).toEqual([8, 2, 3, 3]);
  });
});
