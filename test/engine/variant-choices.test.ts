/** @module-tag slow */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Interrupted, RunFolder, nestRecipe, resolveRecipe, trainRecipe } from '../../deit/node.ts';
import type { Overrides } from '../../deit/node.ts';
import { createEngine, matmul, tune } from '../../engine/node.ts';
import type { CachedTuneOptions, Engine, Tensor } from '../../engine/node.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { SMALL_RUN } from '../support/small-run.ts';
import { timedBy } from '../support/timed-by.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-tuner-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const engine = useEngine();

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
  /** Two variants of the product besides the default, and the kernels of all three. */
  async function candidates() {
    const [asked] = await engine().variants.collect(() => product(engine()));
    // Those that begin with packing have the same first kernel.
    const names = asked.kernel.candidates(asked.problem, engine().profile).filter((name) => !name.includes('+'));
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
    const { kernels } = await candidates();
    expect(new Set(kernels.map(String)).size).toBe(3);
    expect(kernelsOf(own)).toEqual(kernels[0]);
    expect([own.variants.size, own.variants.export().choices]).toEqual([0, {}]);
    own.close();
  });

  it('survive in the cache file, and are not measured again', async () => {
    const { names, kernels } = await candidates();
    const cache = join(folder, 'new', 'cache.json');
    expect(await tuned({ cache, time: prefer(names[1]) })).toEqual(kernels[1]);
    expect(await tuned({ cache, time: noTime })).toEqual(kernels[1]);
    await expect(tuned({ cache: null, time: noTime })).rejects.toThrow('measured');
  });

  it.each([
    ['garbage', () => 'x{'],
    ['another version', (text: string) => text.replace(/"version": "[^"]*"/, '"version": "0.0.0-other"')],
    ['another device', (text: string) => text.replace('"device": "', '"device": "other ')],
    ['a variant that does not exist', (text: string, name: string) => text.replace(`"${name}"`, '"no_such_variant"')],
    ['lists for choices', (text: string) => text.replace(/"choices": \{[^}]*\}/, '"choices": []')],
  ])('are measured anew where the cache holds %s', async (what, damage) => {
    const { names, kernels } = await candidates();
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

  it('of another version are counted, and not used', async () => {
    const { names, kernels } = await candidates();
    const [asked] = await engine().variants.collect(() => product(engine()));
    // As 0.1.0 wrote them: other names of kernels and of variants.
    const choices = { [asked.key.replace('matmul', 'product')]: 'parts4', [asked.key]: 'subgroup_rows:8' };
    const own = await createEngine({ variants: { device: engine().variants.device, choices } });
    expect([own.variants.size, own.variants.unknown]).toEqual([2, 2]);
    expect(kernelsOf(own)).toEqual(kernels[0]);
    own.variants.choose(asked.key, names[1]);
    expect(own.variants.unknown).toBe(1);
    own.close();
  });

  it('do without a cache that cannot be written', async () => {
    const { names, kernels } = await candidates();
    writeFileSync(join(folder, 'in-the-way'), '');
    const cache = join(folder, 'in-the-way', 'cache.json');
    expect(await tuned({ cache, time: prefer(names[1]) })).toEqual(kernels[1]);
  });

  it('go from engine to engine as plain data, on the same device only', async () => {
    const { names, kernels } = await candidates();
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
    ...SMALL_RUN,
    // So large that what is rounded differently soon shows in the losses.
    'optim.lr': 5e-2,
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
  const other = 'general';

  it('goes on with the variants that it was begun with, to the bit, whatever the cache says', async () => {
    const cache = join(folder, 'run-cache.json');
    const time = timedBy((name) => (name === other ? 0.1 : 1));
    const tuning: CachedTuneOptions = { cache, seconds: 1e6, variants: 4, time };
    const overrides = { 'run.tune': true };
    const whole = await train('whole', overrides, tuning);
    expect(whole.lines.filter((line) => line.startsWith('tuner:'))).toEqual([
      expect.stringMatching(/^tuner: \d+ problems measured in .*, [1-9]\d* faster by another variant/),
    ]);
    const written = JSON.parse(readFileSync(join(folder, 'whole', 'variants.json'), 'utf8')) as { choices: object };
    expect(Object.keys(written.choices).length).toBeGreaterThan(3);
    const before = await train('parted', overrides, tuning, { stopAt: 4 });
    // Now the cache would have the products computed by another variant.
    const text = readFileSync(cache, 'utf8');
    writeFileSync(cache, text.replaceAll(`"${other}"`, '"workgroup"'));
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
