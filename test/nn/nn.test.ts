import { describe, expect, it } from 'vitest';
import { DeitError, toFloat32 } from '../../engine/index.ts';
import { accumulate } from '../../engine/gradient-table.ts';
import type { Engine, Tensor } from '../../engine/index.ts';
import {
  AdamW,
  Ema,
  LayerNorm,
  Linear,
  Module,
  SGD,
  decayGroups,
  initScope,
  kaimingUniform,
  learningRate,
  normal,
  saveState,
  stateMismatch,
  warmupCosine,
} from '../../nn/index.ts';
import type { Optimizer } from '../../nn/index.ts';
import { summarizeModel } from '../../deit/models/registry.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

function failure(work: () => unknown): DeitError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(DeitError);
    return error as DeitError;
  }
  throw new Error('nothing was thrown');
}

/** A small tree: a linear layer, a norm, a buffer and a counter. */
class Small extends Module {
  readonly fc: Linear;
  readonly norm: LayerNorm;
  readonly mean: Tensor;
  readonly tracked: { value: number };

  constructor(engine: Engine) {
    super();
    this.mean = this.buffer('running_mean', engine.zeros([3]));
    this.tracked = this.counter('num_batches_tracked');
    this.fc = this.child('block.0.fc', new Linear(engine, 2, 3));
    this.norm = this.child('norm', new LayerNorm(engine, 3));
  }
}
const NAMES = ['running_mean', 'block.0.fc.weight', 'block.0.fc.bias', 'norm.weight', 'norm.bias'];

describe('Module', () => {
  const engine = useEngine();

  it('names its state as PyTorch does', () => {
    const small = new Small(engine());
    expect([...small.stateDict().keys()]).toEqual(NAMES);
    expect(small.namedParameters().map(([name]) => name)).toEqual(NAMES.slice(1));
    expect(small.numParameters()).toBe(6 + 3 + 3 + 3);
    expect(small.parameters().every(({ requiresGrad }) => requiresGrad)).toBe(true);
    small.requiresGrad_(false).eval();
    expect(small.parameters().some(({ requiresGrad }) => requiresGrad)).toBe(false);
    expect([small.training, small.fc.training, small.train().norm.training]).toEqual([false, false, true]);
  });

  it('keeps its state through saving and loading', async () => {
    const [from, to] = [new Small(engine()), new Small(engine())];
    from.mean.write([1, 2, 3]);
    from.tracked.value = 12;
    const state = await saveState(from);
    expect(state.get('num_batches_tracked')).toMatchObject({ dtype: 'I64', shape: [] });
    to.loadStateDict(new Map([...state].map(([name, t]) => [name, { shape: t.shape, data: toFloat32(t) }])));
    expect(to.tracked.value).toBe(12);
    for (const [name, stored] of await saveState(to)) {
      expect([...toFloat32(stored)], name).toEqual([...toFloat32(state.get(name)!)]);
    }
  });

  it('lists everything that does not fit, and changes nothing', async () => {
    const small = new Small(engine());
    const given = new Map([
      ['running_mean', { shape: [3], data: [9, 9, 9] }],
      ['block.0.fc.weight', { shape: [2, 3], data: [1, 2, 3, 4, 5, 6] }],
      ['norm.weight', { shape: [3], data: [1, 1, 1] }],
      ['other', { shape: [], data: [0] }],
    ]);
    const { code, message } = failure(() => small.loadStateDict(given));
    expect(code).toBe('state-mismatch');
    const others = (count: number) =>
      stateMismatch({ missing: [], other: Array.from({ length: count }, (_, i) => `n${i}`) });
    expect(others(8).message).toMatch(/found: 8 other: n0, .*, n7$/m);
    expect(others(9).message).toMatch(/found: 9 other: n0, .*, n7 and 1 more$/m);
    expect(message).toContain('2 missing: block.0.fc.bias, norm.bias');
    expect(message).toContain('1 unexpected: other');
    expect(message).toContain('1 misshapen: block.0.fc.weight [2, 3] instead of [3, 2]');
    expect([...(await small.mean.read())]).toEqual([0, 0, 0]);
    expect(failure(() => small.loadStateDict(given, { strict: false })).message).toContain('misshapen');
    given.delete('block.0.fc.weight');
    expect(small.loadStateDict(given, { strict: false })).toEqual({
      missing: ['block.0.fc.weight', 'block.0.fc.bias', 'norm.bias'],
      unexpected: ['other'],
    });
    expect([...(await small.mean.read())]).toEqual([9, 9, 9]);
  });
});

describe('initial values', () => {
  const engine = useEngine({ seed: 7 });

  it('have the moments of their distributions', async () => {
    const n = 40_000;
    const moments = async (tensor: Tensor) => {
      const data = [...(await tensor.read())];
      const mean = data.reduce((sum, x) => sum + x, 0) / n;
      const variance = data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / n;
      const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      return { mean, std: Math.sqrt(variance), largest };
    };
    const gaussian = await moments(normal(engine(), [n], 0.02));
    // Five standard errors: .02 / sqrt(n), and .02 / sqrt(2n).
    expect(Math.abs(gaussian.mean)).toBeLessThan(5e-4);
    expect(Math.abs(gaussian.std - 0.02)).toBeLessThan(3.6e-4);
    expect(gaussian.largest).toBeGreaterThan(0.07);
    // The patch embedding of DeiT: fan-in 768, bound 0.0360844, standard deviation 0.02083 (spec section 3).
    const flat = await moments(kaimingUniform(engine(), [n], 768));
    expect(Math.abs(flat.std - 0.0208333)).toBeLessThan(3e-4);
    expect(flat.largest).toBeLessThanOrEqual(0.0360844);
    expect(flat.largest).toBeGreaterThan(0.036);
  });

  it('follow from the name of the scope, whatever came before', async () => {
    const build = (name: string) => initScope(engine(), name, () => new Linear(engine(), 5, 4));
    const first = build('a');
    normal(engine(), [3], 1);
    engine().setStep(5);
    const [again, other] = [build('a'), build('b')];
    expect([...(await again.weight.read())]).toEqual([...(await first.weight.read())]);
    expect([...(await again.bias!.read())]).toEqual([...(await first.bias!.read())]);
    expect([...(await other.weight.read())]).not.toEqual([...(await first.weight.read())]);
    expect([...(await again.weight.read())].slice(0, 4)).not.toEqual([...(await again.bias!.read())]);
  });
});

describe('learning rate', () => {
  // spec/recipe.md section 2: base 1e-3, 300 epochs, as the original runs them.
  const table: [epoch: number, lr: number][] = [
    [0, 1e-6],
    [1, 1e-6],
    [2, 2.008e-4],
    [3, 4.006e-4],
    [4, 6.004e-4],
    [5, 8.002e-4],
    [6, 9.99322e-4],
    [7, 9.99023e-4],
    [10, 9.97803e-4],
    [50, 9.36251e-4],
    [100, 7.56976e-4],
    [150, 5.10184e-4],
    [200, 2.62003e-4],
    [250, 7.89327e-5],
    [299, 1.01086e-5],
  ];
  const schedule = { base: 1e-3, epochs: 300 };

  it.each(table)('is the table at epoch %i', (epoch, lr) => {
    for (const step of [0, 1250]) {
      const found = learningRate({ ...schedule, per: 'epoch' }, epoch * 1251 + step, 1251);
      expect(Math.abs(found / lr - 1)).toBeLessThan(5e-6);
    }
    // Per step the same curve, without the epoch by which the original lags.
    if (epoch > 0) expect(learningRate(schedule, (epoch - 1) * 1251, 1251) / lr).toBeCloseTo(1, 5);
  });

  it('rises within an epoch when set per step', () => {
    expect(learningRate(schedule, 0, 100)).toBe(1e-6);
    expect(learningRate(schedule, 250, 100)).toBeCloseTo(1e-6 + 0.5 * (1e-3 - 1e-6), 12);
    expect([300, 450].map((time) => warmupCosine(time, schedule))).toEqual([1e-5, 1e-5]);
  });

  it('stays constant after the warmup of fine-tuning at 384 (spec section 8)', () => {
    const fine = { base: 5e-6, epochs: 30, minLr: 5e-6, per: 'epoch' } as const;
    const rates = [0, 1, 2, 3, 4, 5, 6, 29].map((epoch) => learningRate(fine, epoch, 1));
    const expected = [1e-6, 1e-6, 1.8e-6, 2.6e-6, 3.4e-6, 4.2e-6, 5e-6, 5e-6];
    rates.forEach((rate, i) => expect(rate).toBeCloseTo(expected[i], 12));
  });
});

describe('decay groups', () => {
  const engine = useEngine();
  const spec = 'deit_tiny_distilled_patch16_224 depth=1';
  const named = () =>
    summarizeModel(spec).tensors.map(({ name, shape }): [string, Tensor] => [
      name,
      engine()
        .empty(shape)
        .requiresGrad_(name !== 'norm.weight'),
    ]);
  const decayed = [
    ...['patch_embed.proj.weight', 'blocks.0.attn.qkv.weight', 'blocks.0.attn.proj.weight'],
    ...['blocks.0.mlp.fc1.weight', 'blocks.0.mlp.fc2.weight', 'head.weight', 'head_dist.weight'],
  ];

  it.each([
    ['deit', ['dist_token', ...decayed]],
    ['timm', decayed],
  ] as const)('by the rule of %s', (rule, expected) => {
    const [first, second] = decayGroups(named(), 0.05, rule);
    expect(first.parameters.map(([name]) => name)).toEqual(expected);
    expect([first.weightDecay, second.weightDecay]).toEqual([0.05, 0]);
    expect(decayGroups(first.parameters, 0.05, rule)).toEqual([first]);
    expect(decayGroups(second.parameters, 0.05, rule)).toEqual([second]);
    const all = [...first.parameters, ...second.parameters].map(([name]) => name);
    const trained = summarizeModel(spec).tensors.map(({ name }) => name);
    expect(new Set(all)).toEqual(new Set(trained.filter((name) => name !== 'norm.weight')));
  });
});

/** Float64 twin of a few steps of AdamW or SGD with clipping, on the gradients of 0.5 |w - target|^2 (a quadratic). */
function reference(start: number[], target: number[], kind: string, lrs: number[], decays: number[], clip: number) {
  const w = [...start];
  const [m, v] = [w.map(() => 0), w.map(() => 0)];
  lrs.forEach((lr, step) => {
    const g = w.map((x, i) => x - target[i]);
    const norm = Math.sqrt(g.reduce((sum, x) => sum + x * x, 0));
    const scale = clip > 0 ? Math.min(1, clip / (norm + 1e-6)) : 1;
    w.forEach((x, i) => {
      const grad = g[i] * scale;
      if (kind === 'sgd') {
        m[i] = 0.9 * m[i] + grad + decays[i] * x;
        w[i] = x - lr * m[i];
        return;
      }
      m[i] = 0.9 * m[i] + 0.1 * grad;
      v[i] = 0.999 * v[i] + 0.001 * grad * grad;
      const [mHat, vHat] = [m[i] / (1 - 0.9 ** (step + 1)), v[i] / (1 - 0.999 ** (step + 1))];
      w[i] = x * (1 - lr * decays[i]) - (lr * mHat) / (Math.sqrt(vHat) + 1e-8);
    });
  });
  return w;
}

describe('optimizers', () => {
  const engine = useEngine();
  const lrs = [0.1, 0.05, 0.2, 0.01, 0.1];
  // Five steps of about ten roundings of 6e-8 each, in elements that cancel to a fraction of what is added.
  const TOLERANCE = 3e-6;

  /** Two parameters (70 and 3 elements), drawn towards targets; one of them decays. */
  function problem() {
    const values = [uniform(70, 1), uniform(3, 2)];
    const targets = [uniform(70, 3), uniform(3, 4)];
    const parameters = values.map((data) => engine().tensor(data).requiresGrad_());
    const groups = [
      { parameters: [['a', parameters[0]]] as [string, Tensor][], weightDecay: 0.05 },
      { parameters: [['b', parameters[1]]] as [string, Tensor][], weightDecay: 0 },
    ];
    /** Gradient w - target, by hand: what backward would leave. */
    const backward = (): void =>
      parameters.forEach((parameter, i) => {
        const gradient = engine().empty(parameter.shape);
        engine().copy(parameter, gradient);
        const negative = engine().tensor(targets[i].map((x) => -x));
        accumulate(gradient, negative);
        engine().copy(gradient, parameter.gradHome!);
        parameter.grad = parameter.gradHome;
      });
    return { values, targets, parameters, groups, backward };
  }

  const make = (kind: 'adamw' | 'sgd', groups: ConstructorParameters<typeof AdamW>[0], options: object): Optimizer =>
    kind === 'adamw' ? new AdamW(groups, options) : new SGD(groups, { momentum: 0.9, ...options });

  it.each([
    ['adamw', 0],
    ['sgd', 0],
    ['adamw', 1.5],
    ['sgd', 1.5],
  ] as const)('%s with clipping at %d', async (kind, clip) => {
    const { values, targets, parameters, groups, backward } = problem();
    const optimizer = make(kind, groups, { maxNorm: clip > 0 ? clip : null });
    for (const lr of lrs) {
      optimizer.prepareStep(lr);
      optimizer.zeroGrad();
      backward();
      optimizer.step();
    }
    // One decays, the other does not; both are clipped by their common norm.
    const decays = [...Array<number>(70).fill(0.05), ...Array<number>(3).fill(0)];
    const [start, target] = [values, targets].map((arrays) => arrays.flatMap((data) => [...data]));
    const found = (await Promise.all(parameters.map((parameter) => parameter.read()))).flatMap((data) => [...data]);
    expectClose(found, reference(start, target, kind, lrs, decays, clip), TOLERANCE);
  });

  it('trains groups at rates of their own', async () => {
    const { values, targets, parameters, groups, backward } = problem();
    const optimizer = new SGD([groups[0], { ...groups[1], lrScale: 0.1 }]);
    optimizer.prepareStep(0.5);
    backward();
    optimizer.step();
    const expected = Array.from(values[1], (x, i) => x - 0.05 * (x - targets[1][i]));
    expectClose(await parameters[1].read(), expected, 1e-6);
  });

  it('scales gradients before it clips them, and reports the norm before both', async () => {
    const { values, targets, parameters, groups, backward } = problem();
    const gradient = [0, 1].flatMap((i) => Array.from(values[i], (x, j) => x - targets[i][j]));
    const norm = Math.hypot(...gradient);
    const optimizer = make('sgd', groups, { gradientScale: 0.5, maxNorm: 0.4 * norm });
    optimizer.prepareStep(0.1);
    backward();
    optimizer.step();
    // Half the gradient has norm 0.5, which is clipped to 0.4 of the whole.
    const expected = Array.from(values[1], (x, i) => x - 0.1 * 0.4 * (x - targets[1][i]));
    expectClose(await parameters[1].read(), expected, 1e-6);
    expectClose((await optimizer.norm!.read()).slice(0, 1), [norm], 1e-6);
  });

  it('keeps everything when a gradient is not finite', async () => {
    const { values, parameters, groups, backward } = problem();
    const optimizer = make('adamw', groups, { skipNonFinite: true });
    optimizer.prepareStep(0.1);
    backward();
    parameters[0].gradHome!.write(Float32Array.from({ length: 70 }, (_, i) => (i === 69 ? NaN : 1)));
    optimizer.step();
    expect([...(await parameters[1].read())]).toEqual([...values[1]]);
    expect((await optimizer.norm!.read())[1]).toBe(1);
  });

  it('goes on exactly from a saved state, also in a new optimizer on the same parameters', async () => {
    const run = async (interrupted: boolean) => {
      const { parameters, groups, backward } = problem();
      let optimizer = make('adamw', groups, {});
      for (let step = 0; step < lrs.length; step++) {
        if (interrupted && step === 2) {
          const state = optimizer.stateDict();
          expect([...state.keys()]).toEqual(['exp_avg.a', 'exp_avg.b', 'exp_avg_sq.a', 'exp_avg_sq.b']);
          const saved = new Map<string, { shape: readonly number[]; data: ArrayLike<number> }>();
          for (const [name, tensor] of state) saved.set(name, { shape: tensor.shape, data: await tensor.read() });
          optimizer.free();
          optimizer = make('adamw', groups, {});
          expect(failure(() => optimizer.loadStateDict(new Map(), 0)).code).toBe('state-mismatch');
          optimizer.loadStateDict(saved, 2);
        }
        optimizer.prepareStep(lrs[step]);
        optimizer.zeroGrad();
        backward();
        optimizer.step();
      }
      return Promise.all(parameters.map((parameter) => parameter.read()));
    };
    expect(await run(true)).toEqual(await run(false));
  });

  it('names parameters that have no gradient, and those that have another optimizer', () => {
    const { groups, backward, parameters } = problem();
    const optimizer = make('adamw', groups, {});
    backward();
    parameters[1].grad = null;
    const error = failure(() => optimizer.step());
    expect([error.code, error.details.where]).toEqual(['no-gradient', 'b']);
    expect(failure(() => make('sgd', groups, {})).message).toContain('another optimizer');
    expect(failure(() => make('sgd', [], {})).message).toContain('needs parameters');
  });

  it('averages parameters and buffers, and lends the averages to an evaluation', async () => {
    const small = new Small(engine());
    const optimizer = new SGD([{ parameters: small.namedParameters(), weightDecay: 0 }]);
    for (const decay of [-0.01, 1.01, NaN]) {
      expect(() => new Ema(small, optimizer, decay)).toThrow(/bad-argument[\s\S]*between 0 and 1/);
    }
    const ema = new Ema(small, optimizer, 0.75);
    const read = async () => [...(await small.mean.read()), ...(await small.norm.bias.read())];
    const states = [
      [1, 2, 3, 4, 5, 6],
      [-3, 0, 1, 2, 8, 0.5],
    ];
    let expected = [0, 0, 0, 0, 0, 0];
    for (const state of states) {
      small.mean.write(state.slice(0, 3));
      small.norm.bias.write(state.slice(3));
      ema.update();
      expected = expected.map((x, i) => 0.75 * x + 0.25 * state[i]);
    }
    // Multiples of 1/16: exact.
    await ema.withAverages(async () => expect(await read()).toEqual(expected));
    expect(await read()).toEqual(states[1]);
    expect(new Set(ema.stateDict().keys())).toEqual(new Set(NAMES));
    expect([...(await ema.stateDict().get('running_mean')!.read())]).toEqual(expected.slice(0, 3));
    ema.free();
    optimizer.free();
    expect(await read()).toEqual(states[1]);
  });
});
