import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine, readSafetensors, toFloat32 } from '../../engine/node.ts';
import type { Engine, Tensor } from '../../engine/node.ts';
import { readTensors } from '../../nn/index.ts';
import { Interrupted, RunFolder, nestRecipe, resolveRecipe, trainRecipe } from '../../deit/node.ts';
import type { StepProgress, Overrides, Reporter, TrainResult } from '../../deit/node.ts';
import { createModel } from '../../deit/models/registry.ts';
import { optimizerOf } from '../../deit/train/setup.ts';
import { TrainStep } from '../../deit/train/step.ts';
import type { StepMetrics, TrainStepOptions } from '../../deit/train/step.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { SMALL_RUN } from '../support/small-run.ts';

/** Small enough for a software adapter, with everything switched on that a step can have. */
const SMALL: Overrides = {
  'model.name': 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=2 heads=3 num_classes=10',
  'model.dropPath': 0.2,
  ...SMALL_RUN,
  'distillation.type': 'hard',
  'teacher.model': 'regnety_002 w0=16 wa=8 wm=2.2 depth=4 group_width=8 num_classes=10 stem_stride=1',
  'teacher.share': 0.2,
};

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-training-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Run {
  readonly result: TrainResult | null;
  /** The teacher's tensors when all was trained; empty where the run was stopped. */
  readonly teacher: ReadonlyMap<string, string>;
  readonly losses: number[];
  readonly steps: StepProgress[];
}

async function train(
  name: string,
  overrides: Overrides,
  options: { resume?: boolean; stopAt?: number; seed?: number } = {},
): Promise<Run> {
  const engine = await createEngine({ seed: options.seed ?? 7 });
  const path = join(folder, name);
  const run = options.resume ? RunFolder.open(path) : RunFolder.create(name, path);
  const stop = new AbortController();
  const steps: StepProgress[] = [];
  let teacher: ReadonlyMap<string, string> = new Map();
  const reporter: Reporter = {
    say: () => undefined,
    begin: () => undefined,
    evaluated: () => undefined,
    end: () => undefined,
    step: (role, progress) => {
      if (role === 'student') steps.push(progress);
      if (role === 'student' && progress.step === options.stopAt) stop.abort();
    },
  };
  const recipe = resolveRecipe(SMALL, overrides);
  try {
    if (!options.resume)
      await run.writeJson('config.json', { version: '0', command: [], name, recipe: nestRecipe(recipe) });
    const result = await trainRecipe(engine, {
      recipe,
      folder: run,
      reporter,
      resume: options.resume,
      signal: stop.signal,
      afterTraining: async (trained) => {
        if (trained.teacher) teacher = await bytes(trained.teacher.stateDict());
      },
    }).catch((error: unknown) => {
      if (error instanceof Interrupted) return null;
      throw error;
    });
    return { result, teacher, losses: steps.map(({ loss }) => loss), steps };
  } finally {
    run.close();
    engine.close();
  }
}

const bytes = async (tensors: ReadonlyMap<string, Tensor>) =>
  new Map(
    [...(await readTensors(tensors))].map(([name, { bytes: content }]) => [
      name,
      Buffer.from(content).toString('base64'),
    ]),
  );

describe('training', () => {
  it('lowers the loss of both heads', async () => {
    const { steps, result, teacher } = await train('falls', {
      'schedule.steps': 120,
      'augment.mixup': 0,
      'augment.cutmix': 0,
      'augment.erasing': 0,
      'model.dropPath': 0,
    });
    const mean = (part: StepProgress[], of: (step: StepProgress) => number) =>
      part.reduce((sum, step) => sum + of(step), 0) / part.length;
    for (const loss of [(step: StepProgress) => step.lossLabel, (step: StepProgress) => step.lossDistillation!]) {
      // At first ln 10 = 2.30 for the labels; 120 steps bring a network of this size below 2.2.
      expect(mean(steps.slice(-20), loss)).toBeLessThan(mean(steps.slice(0, 20), loss) - 0.05);
    }
    expect(result!.steps).toBe(120);
    // In training mode the teacher's running statistics would have moved with every batch of the student.
    const { tensors } = await readSafetensors(join(folder, 'falls', 'teacher.safetensors'));
    expect([...teacher.keys()].filter((name) => name.endsWith('running_var')).length).toBeGreaterThan(10);
    for (const [name, content] of teacher)
      expect(Buffer.from(tensors.get(name)!.bytes).toString('base64')).toBe(content);
  });

  it('resumes to the bit, and so repeats: mixing, moving average, stochastic depth, accumulation and all', async () => {
    const overrides = {
      'schedule.steps': 10,
      'data.accumulate': 2,
      'optim.ema': 0.9,
      'optim.clip': 1,
      'run.checkpointEvery': 1000,
    };
    const whole = await train('whole', overrides);
    // The same seed gives the same losses in another run, up to where that is stopped and beyond.
    const before = await train('parted', overrides, { stopAt: 4 });
    expect(before.result).toBeNull();
    expect(before.losses.length).toBeGreaterThanOrEqual(4);
    expect(before.losses).toEqual(whole.losses.slice(0, before.losses.length));
    const after = await train('parted', overrides, { resume: true });
    expect(after.losses.length).toBeLessThan(10);
    expect([...before.losses, ...after.losses]).toEqual(whole.losses);
    expect(after.result!.accuracy).toEqual(whole.result!.accuracy);
    expect(after.result!.ema).toEqual(whole.result!.ema);
    const other = await train('other', { ...overrides, 'run.seed': 1 }, { seed: 1, stopAt: 1 });
    expect(other.losses[0]).not.toBe(whole.losses[0]);
  });
});

describe('a training step', () => {
  const shared = useEngine();
  async function withStep(
    engine: Engine,
    accumulate: number,
    work: (made: ReturnType<typeof makeStep>) => Promise<void>,
    options: Partial<TrainStepOptions> = {},
  ) {
    const made = makeStep(engine, accumulate, options);
    await work(made);
    made.step.release();
  }
  function makeStep(engine: Engine, accumulate: number, options: Partial<TrainStepOptions>) {
    const type = options.distillation?.type ?? 'hard';
    const recipe = resolveRecipe(SMALL, { 'data.accumulate': accumulate, 'model.dropPath': 0, 'distillation.type': type }); // prettier-ignore
    const student = createModel(engine, recipe['model.name']);
    const teacher = createModel(engine, recipe['teacher.model']!).requiresGrad_(false).eval();
    const optimizer = optimizerOf(recipe, 'student', student);
    const step = new TrainStep({
      engine,
      student,
      teacher,
      optimizer,
      distillation: { type: 'hard', alpha: 0.5, tau: 1, scaling: 'all' },
      smoothing: 0.1,
      mixing: null,
      ema: null,
      batchSize: 16 / accumulate,
      accumulate,
      imageSize: 32,
      ...options,
    });
    return { student, teacher, optimizer, step };
  }
  const images = uniform(16 * 3 * 32 * 32, 5);
  const labels = Int32Array.from({ length: 16 }, (_, i) => i % 10);
  const batch = (first: number, size: number) => ({
    epoch: 0,
    number: 0,
    size,
    images: images.slice(first * 3 * 1024, (first + size) * 3 * 1024),
    labels: labels.slice(first, first + size),
  });
  it('moves every parameter of the student, the distillation head included, and no byte of the teacher', async () => {
    await withStep(shared(), 1, async ({ student, teacher, step }) => {
      const [before, frozen] = [await bytes(student.stateDict()), await bytes(teacher.stateDict())];
      await step.run([batch(0, 16)], 0, 1e-3);
      await step.run([batch(0, 16)], 1, 1e-3);
      const after = await bytes(student.stateDict());
      expect([...before].filter(([name, content]) => after.get(name) === content).map(([name]) => name)).toEqual([]);
      expect(await bytes(teacher.stateDict())).toEqual(frozen);
    });
  });

  it('with accumulation equals the step on the whole batch up to rounding, in its figures too', async () => {
    const weights: Float32Array[] = [];
    const figures: StepMetrics[] = [];
    for (const accumulate of [1, 2, 4]) {
      await withStep(shared(), accumulate, async ({ optimizer, step }) => {
        const size = 16 / accumulate;
        const batches = Array.from({ length: accumulate }, (_, i) => batch(i * size, size));
        figures.push(await step.run(batches, 0, 1e-3));
        const moments = await readTensors(optimizer.stateDict());
        weights.push(toFloat32(moments.get('exp_avg.blocks.0.mlp.fc1.weight')!));
        // After one step of AdamW the first moment is a tenth of the mean gradient, for nothing is clipped.
        const own = [...moments].flatMap(([name, moment]) => (name.startsWith('exp_avg.') ? [toFloat32(moment)] : []));
        const squares = own.reduce((sum, values) => values.reduce((part, value) => part + (10 * value) ** 2, sum), 0);
        // A sum of the squares of 10^5 f32 numbers in another order.
        expect(figures.at(-1)!.gradNorm / Math.sqrt(squares)).toBeCloseTo(1, 5);
      });
    }
    // Gradients of sums in another order: some dozens of f32 roundings.
    expectClose(weights[1], weights[0], 5e-6);
    expectClose(weights[2], weights[0], 5e-6);
    const [whole, ...parts] = figures;
    for (const { gradNorm, loss, accuracy } of parts) {
      expect(gradNorm / whole.gradNorm).toBeCloseTo(1, 5);
      expect(loss / whole.loss).toBeCloseTo(1, 5);
      expect(accuracy).toBe(whole.accuracy);
    }
  });

  it('mixes its images anew in each epoch and in each batch of it', async () => {
    const mixing = { mixupAlpha: 0.8, cutmixAlpha: 1, probability: 1, switchProbability: 0.5 };
    await withStep(
      shared(),
      1,
      async ({ step }) => {
        const loss = async (epoch: number, number: number): Promise<number> =>
          // At a learning rate of 0 nothing but the mixing differs from step to step.
          (await step.run([{ ...batch(0, 16), epoch, number }], 0, 0)).loss;
        const losses = [await loss(0, 0), await loss(1, 0), await loss(2, 0), await loss(0, 1), await loss(1, 1)];
        expect(new Set(losses).size).toBe(5);
        expect(await loss(0, 0)).toBe(losses[0]);
        expect(await loss(1, 1)).toBe(losses[4]);
      },
      { mixing },
    );
  });

  it('without a teacher leaves the distillation head as it is, decay and all', async () => {
    await withStep(
      shared(),
      1,
      async ({ student, optimizer, step }) => {
        const before = await bytes(student.stateDict());
        for (const number of [0, 1]) await step.run([batch(0, 16)], number, 1e-2);
        const after = await bytes(student.stateDict());
        const same = [...before].filter(([name, content]) => after.get(name) === content).map(([name]) => name);
        expect(same.sort()).toEqual(['head_dist.bias', 'head_dist.weight']);
        expect(optimizer.parameters.some(([name]) => name.startsWith('head_dist'))).toBe(false);
      },
      { teacher: null, distillation: { type: 'none', alpha: 0.5, tau: 1, scaling: 'all' } },
    );
  });

  it('is a handful of submits, and takes no memory beyond the second in 100, no bind group and no pipeline', async () => {
    // Debug mode submits every dispatch by itself. An engine of its own, which has no memory left over from other steps.
    const engine = await createEngine({ debug: false });
    await withStep(engine, 1, async ({ step }) => {
      const used: number[][] = [];
      for (let i = 0; i < 100; i++) {
        const before = engine.statistics.submits;
        await step.run([batch(0, 16)], i, 1e-4);
        const { totalBytes, buffers } = engine.memory();
        if (i < 1) continue;
        expect(engine.statistics.submits - before).toBeLessThanOrEqual(4);
        used.push([totalBytes, buffers, engine.statistics.pipelines]);
      }
      // What recording the first step alone needed is let go of after a while; nothing ever comes on top.
      const [second, last] = [used[0], used[used.length - 1]];
      for (const counts of used) counts.forEach((count, i) => expect(count).toBeLessThanOrEqual(second[i]));
      expect(used.slice(-30).every((counts) => counts.join() === last.join())).toBe(true);
    });
    engine.close();
  });
});
