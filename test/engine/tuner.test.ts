import { describe, expect, it } from 'vitest';
import {
  autocast,
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
} from '../../engine/node.ts';
import type { Engine, Kernel, Tensor, Tunable, Way } from '../../engine/node.ts';
import { uniform } from '../support/close.ts';
import { timedBy } from '../support/timed-by.ts';

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

  it.each([false, true])('finds that all ways of convolutions agree, gradients included, f16: %s', async (half) => {
    const own = await createEngine();
    if (half && !own.profile.f16) return own.close();
    const work = (): void => autocast(own, () => convolutions(own), { enabled: half });
    const { measured, left } = await tune(own, work, { cache: null, seconds });
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
