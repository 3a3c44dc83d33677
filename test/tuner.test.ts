import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Interrupted, RunFolder, nestRecipe, resolveRecipe, trainRecipe } from '../deit/node.ts';
import type { Overrides } from '../deit/node.ts';
import {
  conv2d,
  createEngine,
  describeTuning,
  input,
  launch,
  linear,
  matmul,
  mlp,
  output,
  scaledDotProductAttention,
  tune,
} from '../engine/node.ts';
import type { CachedTuneOptions, Engine, Kernel, Tensor, Tunable, Way } from '../engine/node.ts';
import { productForms } from '../kernels/matmul/index.ts';
import type { MatmulProblem } from '../kernels/matmul/index.ts';
import { MATMUL_CASES } from './cases/matmul.ts';
import { expectClose, uniform } from './support/close.ts';
import { useEngine } from './support/engine.ts';
import { matmulReference } from './support/matmul-reference.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-tuner-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const engine = useEngine();

/** Times that follow from the names of the ways, so that what wins does not depend on the machine. */
const timedBy =
  (ms: (name: string) => number) =>
  (_record: () => void, { name }: Way): Promise<number> =>
    Promise.resolve(ms(name));

const count = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

describe('every form of every product', () => {
  /** The product of a case in each of its forms that `wanted` lets through, against float64. */
  async function check(problem: (typeof MATMUL_CASES)[number], wanted: (name: string) => boolean): Promise<number> {
    const [a, b] = [uniform(count(problem.a), 1), uniform(count(problem.b), 2)];
    const [ta, tb] = [engine().tensor(a, problem.a), engine().tensor(b, problem.b)];
    const { values, k } = matmulReference(problem, a, b);
    const run = (): Tensor => matmul(ta, tb, problem);
    const [asked] = await engine().variants.collect(run);
    const forms = productForms(asked.problem as MatmulProblem, engine().profile).filter(({ name }) => wanted(name));
    for (const { name } of forms) {
      engine().variants.choose(asked.key, name);
      // Sums of k products in f32: some 2^-24 times the square root of k, relative to the norm.
      expectClose(await run().read(), values, 2 ** -24 * (4 + Math.sqrt(k)), name);
    }
    return forms.length;
  }

  // Software adapters take long to compile what is made for others; test/matmul-variants.test.ts has the other tiles.
  it.each(MATMUL_CASES)('$name', async (problem) => {
    expect(await check(problem, (name) => !/workgroup|:/.test(name))).toBeGreaterThan(0);
  });

  const tiled = MATMUL_CASES.filter(({ name }) => /^36 x 198 x 64|^127 x 65 x 33/.test(name));
  it.each(tiled)('tiles of $name', async (problem) => {
    await check(problem, (name) => name.includes(':'));
  });
});

/** A computation y = x + x in ways that are right, wrong, or no WGSL at all. */
const double: Kernel<{ n: number; way: string }> = ({ way }) => [
  launch({
    name: `double/${way}`,
    bindings: [input('x'), output('y')],
    wgsl: `@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  y[id.x] = ${{ sum: 'x[id.x] + x[id.x]', product: '2 * x[id.x]', wrong: '2.001 * x[id.x]', nothing: 'y[id.x]' }[way] ?? 'nonsense'};
}`,
    grid: [1, 1, 1],
    cost: { flops: 64, bytes: 512 },
  }),
];

const doubling = (...ways: string[]): Tunable<{ n: number }, Way> => ({
  name: 'double',
  ways: () => ways.map((name) => ({ name })),
  flops: ({ n }) => n,
  describe: ({ n }) => `double ${n}`,
  trial(own, { n }, make) {
    const [x, y] = [make([n]), make([n])];
    return {
      record: ({ name }) => own.run('tune', double, { n, way: name }, { x, y }),
      results: [y],
      tolerance: 2 ** -20,
    };
  },
});

describe('tune', () => {
  const seconds = 1e6;
  /** What is chosen among ways that take these times. */
  async function choice(times: Readonly<Record<string, number>>) {
    const own = await createEngine();
    const tunable = doubling(...Object.keys(times));
    const asked = await own.variants.collect(() => own.variants.find(tunable, { n: 64 }));
    const time = timedBy((name) => times[name]);
    const { measured } = await tune(own, asked, { cache: null, seconds, time });
    const found = own.variants.find(tunable, { n: 64 })?.name;
    const ms = measured[0].ways.map((way) => way.ms);
    // The engine is sound, whatever was tried on it.
    expect(await own.full([2], 3).read()).toEqual(Float32Array.of(3, 3));
    own.close();
    return { found, ms };
  }

  it('takes what is clearly faster than the usual way, and nothing else', async () => {
    expect((await choice({ sum: 10, product: 9.4 })).found).toBe('product');
    expect((await choice({ sum: 10, product: 9.6 })).found).toBe('sum');
  });

  it('never takes a way whose results differ, that leaves results unwritten, or that does not compile', async () => {
    expect(await choice({ sum: 10, wrong: 1, product: 5 })).toEqual({ found: 'product', ms: [10, null, 5] });
    expect(await choice({ sum: 10, nothing: 1 })).toEqual({ found: 'sum', ms: [10, null] });
    expect(await choice({ sum: 10, nonsense: 1 })).toEqual({ found: 'sum', ms: [10, null] });
  });

  it('measures the heaviest first, and stops when its time is up', async () => {
    const own = await createEngine();
    const tunable = doubling('sum', 'product');
    const asked = await own.variants.collect(() => {
      for (const n of [40, 60, 50]) own.variants.find(tunable, { n });
    });
    let clock = 0;
    let samples = 0;
    const time = (): Promise<number> => {
      clock += 1000;
      samples++;
      return Promise.resolve(1);
    };
    const options = { cache: null, now: () => clock, time };
    // A first sample and five more of both ways take 12 s by this clock.
    const report = await tune(own, asked, { ...options, seconds: 30 });
    expect(report.measured.map(({ what }) => what)).toEqual(['double 60', 'double 50']);
    expect([report.left, samples]).toEqual([1, 30]);
    expect(describeTuning(report)).toMatch(/^2 problems measured in 30.0 s, .*, 1 left as they are/);
    const rest = await tune(own, asked, { ...options, seconds: 30 });
    expect([rest.known, rest.measured.length]).toEqual([2, 1]);
    own.close();
  });

  it('measures on the adapter, runs nothing of the work itself, and frees its memory', async () => {
    const own = await createEngine();
    const [a, b] = [own.tensor(uniform(64 * 32, 1), [64, 32]), own.tensor(uniform(32 * 40, 2), [32, 40])];
    const y = own.zeros([1]);
    await own.idle();
    own.trimMemory();
    const before = own.memory();
    const report = await tune(
      own,
      () => {
        matmul(a, b);
        own.copy(own.full([1], 5), y);
      },
      { cache: null, seconds },
    );
    expect(report.measured.length).toBe(1);
    for (const { ms } of report.measured[0].ways) expect(ms).toBeGreaterThan(0);
    expect(await y.read()).toEqual(Float32Array.of(0));
    own.trimMemory();
    expect(own.memory().keptBytes).toBe(before.keptBytes);
    own.close();
  });

  /** Linear layers and attention, with epilogues, row sums and gradients. */
  function layers(own: Engine): void {
    const of = (...shape: number[]): Tensor => own.full(shape, 1).requiresGrad_();
    const y = mlp(of(2, 33, 20), of(28, 20), of(28), of(20, 28), of(20), of(2, 33, 20));
    const z = scaledDotProductAttention(linear(y, of(48, 20), of(48)), 2);
    z.backward(own.full(z.shape, 1));
  }

  /** Convolutions on whole vectors of pixels, on rows of them, and with a stride. */
  function convolutions(own: Engine): void {
    const of = (...shape: number[]): Tensor => own.full(shape, 1).requiresGrad_();
    const y = conv2d(of(2, 12, 8, 8), of(16, 12, 1, 1), of(16));
    const z = conv2d(y, of(16, 4, 3, 3), null, { padding: 1, groups: 4 });
    conv2d(z, of(8, 16, 3, 3), of(8), { padding: 1, stride: 2 })
      .sum()
      .backward();
  }

  it('compares all that the kernels of a problem write, and nothing else', async () => {
    const own = await createEngine();
    const work = (): void => {
      layers(own);
      convolutions(own);
    };
    const asked = await own.variants.collect(() => own.compile(work));
    expect(asked.length).toBe(9 + 3 + 9);
    for (const { tunable, problem } of asked) {
      const operands: Tensor[] = [];
      const written = new Map<Tensor, string>();
      const names = own.scope(() => {
        const trial = tunable.trial(own, problem, (shape, dtype = 'f32') => {
          operands.push(own.empty(shape, dtype));
          return operands.at(-1)!;
        });
        own.observe(
          ({ outputs }) => {
            for (const [name, { storage }] of Object.entries(outputs)) {
              const operand = operands.find((tensor) => tensor.storage === storage);
              if (operand) written.set(operand, name);
            }
          },
          () => trial.record(tunable.ways(problem, own.profile)[0]),
        );
        return trial.results.map((tensor) => written.get(tensor) ?? 'not written');
      });
      // The reference that a row's weights are stored by is any number near the largest score: variants differ in it.
      const comparable = [...written.values()].filter((name) => name !== 'stats');
      expect(names.sort(), tunable.describe(problem)).toEqual(comparable.sort());
    }
    own.close();
  });

  it('finds that all ways of linear layers and attention agree, epilogues, row sums and gradients included', async () => {
    const own = await createEngine();
    const { measured, left } = await tune(own, () => layers(own), { cache: null, seconds, ways: 5 });
    // Three layers, each with the gradients of input and weight; attention where there is a choice on this device.
    expect(measured.filter(({ what }) => !what.startsWith('attention')).length).toBe(9);
    expect(left).toBe(0);
    for (const { what, ways } of measured) {
      const failed = ways.filter(({ ms }) => ms === null).map(({ name }) => `${what}: ${name}`);
      expect(failed).toEqual([]);
    }
    own.close();
  });

  it('finds that all ways of convolutions agree, gradients included', async () => {
    const own = await createEngine();
    const { measured, left } = await tune(own, () => convolutions(own), { cache: null, seconds });
    expect([measured.length, left]).toEqual([9, 0]);
    for (const { what, ways } of measured) {
      expect(ways.length, what).toBeGreaterThan(1);
      expect(ways.filter(({ ms }) => ms === null).map(({ name }) => `${what}: ${name}`)).toEqual([]);
    }
    own.close();
  });

  it('leaves alone what does not fit into the memory', async () => {
    const own = await createEngine({ memoryBudget: 2 ** 20 });
    const [a, b] = [own.zeros([400, 256]), own.zeros([256, 256])];
    const { measured, left } = await tune(own, () => void matmul(a, b), { cache: null, seconds });
    expect([measured.length, left]).toEqual([0, 1]);
    expect(await own.full([1], 3).read()).toEqual(Float32Array.of(3));
    own.close();
  });
});

describe('choices', () => {
  const product = (own: Engine): Tensor => {
    const [a, b] = [own.tensor(uniform(64 * 32, 1), [64, 32]), own.tensor(uniform(32 * 40, 2), [32, 40])];
    return matmul(a, b);
  };
  /** Kernels that the product takes on an engine. */
  const kernelsOf = (own: Engine): string[] => {
    const kernels: string[] = [];
    own.observe(
      ({ kernel }) => kernels.push(kernel),
      () => product(own),
    );
    return kernels;
  };
  /** Two forms of the product besides the usual one, and the kernels of all three. */
  async function forms() {
    const [asked] = await engine().variants.collect(() => product(engine()));
    const names = productForms(asked.problem as MatmulProblem, engine().profile).map(({ name }) => name);
    const kernels = names.slice(0, 3).map((name) => {
      engine().variants.choose(asked.key, name);
      return kernelsOf(engine());
    });
    return { names, kernels };
  }
  const prefer = (wanted: string) => timedBy((name) => (name === wanted ? 1 : 10));
  const noTime = (): Promise<number> => Promise.reject(new Error('measured'));
  async function tuned(options: CachedTuneOptions): Promise<string[]> {
    const own = await createEngine();
    try {
      await tune(own, () => void product(own), { seconds: 1e6, ...options });
      return kernelsOf(own);
    } finally {
      own.close();
    }
  }

  it('are none unless asked for', async () => {
    const own = await createEngine();
    const { kernels } = await forms();
    expect(new Set(kernels.map(String)).size).toBe(3);
    expect(kernelsOf(own)).toEqual(kernels[0]);
    expect([own.variants.size, own.variants.export().choices]).toEqual([0, {}]);
    own.close();
  });

  it('survive in the cache file, and are not measured again', async () => {
    const { names, kernels } = await forms();
    const cache = join(folder, 'new', 'cache.json');
    expect(await tuned({ cache, time: prefer(names[1]) })).toEqual(kernels[1]);
    expect(await tuned({ cache, time: noTime })).toEqual(kernels[1]);
    await expect(tuned({ cache: null, time: noTime })).rejects.toThrow('measured');
  });

  it.each([
    ['garbage', () => 'x{'],
    ['another version', (text: string) => text.replace(/"version": "[^"]*"/, '"version": "0.0.0-other"')],
    ['another device', (text: string) => text.replace('"device": "', '"device": "other ')],
    ['a form that does not exist', (text: string, name: string) => text.replace(`"${name}"`, '"no_such_form"')],
    ['lists for choices', (text: string) => text.replace(/"choices": \{[^}]*\}/, '"choices": []')],
  ])('are measured anew where the cache holds %s', async (what, damage) => {
    const { names, kernels } = await forms();
    const cache = join(folder, `${what}.json`);
    await tuned({ cache, time: prefer(names[1]) });
    const text = readFileSync(cache, 'utf8');
    const damaged = damage(text, names[1]);
    expect(damaged).not.toBe(text);
    writeFileSync(cache, damaged);
    expect(await tuned({ cache, time: prefer(names[2]) })).toEqual(kernels[2]);
    // And the file is whole again.
    expect(await tuned({ cache, time: noTime })).toEqual(kernels[2]);
  });

  it('do without a cache that cannot be written', async () => {
    const { names, kernels } = await forms();
    writeFileSync(join(folder, 'in-the-way'), '');
    const cache = join(folder, 'in-the-way', 'cache.json');
    expect(await tuned({ cache, time: prefer(names[1]) })).toEqual(kernels[1]);
  });

  it('go from engine to engine as plain data, on the same device only', async () => {
    const { names, kernels } = await forms();
    const own = await createEngine();
    await tune(own, () => void product(own), { cache: null, seconds: 1e6, time: prefer(names[1]) });
    const variants = own.variants.export();
    expect(JSON.parse(JSON.stringify(variants))).toEqual(variants);
    const same = await createEngine({ variants });
    expect(kernelsOf(same)).toEqual(kernels[1]);
    const other = await createEngine({ variants: { ...variants, device: 'another' } });
    expect(kernelsOf(other)).toEqual(kernels[0]);
    for (const opened of [own, same, other]) opened.close();
  });
});

describe('a training run', () => {
  const SMALL: Overrides = {
    'model.name': 'deit_tiny_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=2 heads=3 num_classes=10',
    'data.batchSize': 16,
    'data.workers': 0,
    'augment.policy': null,
    'augment.repeats': 1,
    'optim.lr': 2e-3,
    'optim.scaleLr': false,
    'schedule.per': 'step',
    'schedule.warmupEpochs': 0.05,
    'schedule.steps': 10,
  };

  async function train(
    name: string,
    overrides: Overrides,
    tuning: CachedTuneOptions,
    { resume = false, stopAt = -1 }: { resume?: boolean; stopAt?: number } = {},
  ): Promise<{ losses: number[]; lines: string[] }> {
    const own = await createEngine({ seed: 7 });
    const path = join(folder, name);
    const run = resume ? RunFolder.open(path) : RunFolder.create(name, path);
    const recipe = resolveRecipe(SMALL, overrides);
    const stop = new AbortController();
    const losses: number[] = [];
    const lines: string[] = [];
    const nothing = (): void => undefined;
    const reporter = {
      say: (line: string) => void lines.push(line),
      begin: nothing,
      evaluated: nothing,
      end: nothing,
      step: (_role: unknown, { step, loss }: { step: number; loss: number }) => {
        losses.push(loss);
        if (step === stopAt) stop.abort();
      },
    };
    try {
      if (!resume) await run.writeJson('config.json', { version: '0', command: [], name, recipe: nestRecipe(recipe) });
      const { signal } = stop;
      await trainRecipe(own, { recipe, folder: run, reporter, resume, signal, tuning });
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
    } finally {
      run.close();
      own.close();
    }
    return { losses, lines };
  }
  /** A variant that adds up in another order than the usual one where sums are long. */
  const other = (): string => (engine().profile.cpu ? 'subgroup' : 'general');

  it('goes on with the variants that it was begun with, to the bit, whatever the cache says', async () => {
    const cache = join(folder, 'run-cache.json');
    const time = timedBy((name) => (name === other() ? 0.1 : 1));
    const tuning: CachedTuneOptions = { cache, seconds: 1e6, ways: 4, time };
    const overrides = { 'run.tune': true };
    const whole = await train('whole', overrides, tuning);
    expect(whole.lines.filter((line) => line.startsWith('tuner:'))).toEqual([
      expect.stringMatching(/^tuner: \d+ problems measured in .*, [1-9]\d* faster in another way/),
    ]);
    const written = JSON.parse(readFileSync(join(folder, 'whole', 'variants.json'), 'utf8')) as { choices: object };
    expect(Object.keys(written.choices).length).toBeGreaterThan(3);
    const before = await train('parted', overrides, tuning, { stopAt: 4 });
    // Now the cache would have the products computed in another way.
    const text = readFileSync(cache, 'utf8');
    writeFileSync(cache, text.replaceAll(`"${other()}"`, '"workgroup"'));
    expect(readFileSync(cache, 'utf8')).not.toBe(text);
    rmSync(join(folder, 'parted', 'variants.json'));
    const never = (): Promise<number> => Promise.reject(new Error('measured'));
    const after = await train('parted', overrides, { ...tuning, time: never }, { resume: true });
    expect(after.losses.length).toBeLessThan(10);
    expect([...before.losses, ...after.losses]).toEqual(whole.losses);
    // It does make a difference: another order of summation.
    const plain = await train('plain', {}, { time: never });
    expect(plain.losses).not.toEqual(whole.losses);
    expect(plain.lines.some((line) => line.startsWith('tuner:'))).toBe(false);
  });
});
