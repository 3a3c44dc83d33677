import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { RunFolder, nestRecipe, resolveRecipe, trainRecipe } from '../../deit/node.ts';
import { planTraining } from '../../deit/train/training-plan.ts';
import { createDryEngine, createEngine } from '../../engine/node.ts';

const folder = mkdtempSync(join(tmpdir(), 'deit-plan-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const recipe = (batch: number, rest = {}) =>
  resolveRecipe({
    'model.name':
      'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=3 heads=3 num_classes=10',
    'data.batchSize': batch,
    'data.workers': 0,
    'augment.policy': null,
    'augment.repeats': 1,
    'optim.ema': 0.9,
    'schedule.steps': 4,
    ...rest,
  });
async function train(name: string, of: ReturnType<typeof recipe>, memoryBudget?: number) {
  const engine = await createEngine({ memoryBudget, debug: false });
  const run = RunFolder.create(name, join(folder, name));
  await run.writeJson('config.json', { version: '', command: [], name, recipe: nestRecipe(of) });
  let peak = 0;
  const reporter = {
    say: () => undefined,
    begin: () => undefined,
    // After the last step the adapter itself is measured, with buffers of its own.
    step: (_role: string, { step }: { step: number }) => {
      if (step < 4) peak = engine.memory().peakBytes;
    },
    evaluated: () => undefined,
    end: () => undefined,
  };
  try {
    await trainRecipe(engine, { recipe: of, folder: run, reporter });
    return peak;
  } finally {
    run.close();
    engine.close();
  }
}

it('predicts the measured peak of a training within 10 %, before anything runs', async () => {
  for (const batch of [32, 64]) {
    const engine = await createEngine({ debug: false });
    const plan = await planTraining(engine, recipe(batch), 10, { search: false });
    expect(engine.statistics.submits).toBeLessThanOrEqual(1);
    engine.close();
    const measured = await train(`measured-${batch}`, recipe(batch));
    expect(Math.abs(plan.peakBytes - measured) / measured).toBeLessThan(0.1);
    const sum = Object.values(plan.parts).reduce((total, bytes) => total + bytes, 0);
    expect(sum).toBe(plan.peakBytes);
    // 4 moments and averages more than there are weights, 4 bytes each.
    expect(plan.parts.optimizer).toBeGreaterThan(2 * plan.parts.weights);
  }
});

it('plans the same for a device of these limits that is not there', async () => {
  const engine = await createEngine({ debug: false, memoryBudget: 2 ** 30 });
  const dry = createDryEngine(engine.profile, { memoryBudget: 2 ** 30 });
  const plans = [engine, dry.engine].map((one) => planTraining(one, recipe(32), 10, { search: true }));
  const [here, there] = await Promise.all(plans);
  expect(there).toEqual(here);
  expect(here.largestBatch).toBeGreaterThan(32);
  engine.close();
  dry.engine.close();
});

it('refuses what does not fit, and names a setting with which it does', async () => {
  const engine = await createEngine({ debug: false });
  const { peakBytes } = await planTraining(engine, recipe(64), 10, { search: false });
  engine.close();
  const budget = Math.floor(peakBytes * 0.7);
  const error: unknown = await train('refused', recipe(64), budget).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'out-of-memory' });
  const accumulate = Number(/data\.accumulate=(\d+)/.exec(String(error))![1]);
  expect(accumulate).toBeGreaterThan(1);
  expect(await train('allowed', recipe(64, { 'data.accumulate': accumulate }), budget)).toBeLessThanOrEqual(budget);
});
