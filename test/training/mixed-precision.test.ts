import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine, readSafetensors } from '../../engine/node.ts';
import type { Tensor } from '../../engine/node.ts';
import { AdamW, GradScaler, learningRate } from '../../nn/index.ts';
import type { Module } from '../../nn/index.ts';
import { Interrupted, RunFolder, nestRecipe, resolveRecipe, trainRecipe } from '../../deit/node.ts';
import type { StepProgress, Overrides } from '../../deit/node.ts';
import { VisionTransformer } from '../../deit/models/deit.ts';
import { createModel } from '../../deit/models/registry.ts';
import { trainSteps } from '../../deit/train/train-steps.ts';
import { openSources } from '../../deit/train/node/sources.ts';
import { planTraining } from '../../deit/train/training-plan.ts';
import { applyPrecision, distillationOf, optimizerOf, scheduleOf, studentOf } from '../../deit/train/setup.ts';
import { TrainStep } from '../../deit/train/step.ts';
import { expectClose, relativeError, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { HALF_UNIT, f16Tests, numbers } from '../support/f16.ts';

const engine = useEngine();
const withF16 = f16Tests(engine);

const trainable = (model: Module): (readonly [string, Tensor])[] =>
  [...model.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);

/** Small enough for a software adapter. */
const SMALL: Overrides = {
  'model.name': 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=2 heads=3 num_classes=10',
  'model.dropPath': 0,
  'data.batchSize': 16,
  'data.workers': 0,
  'augment.policy': null,
  'augment.repeats': 1,
  'augment.mixup': 0,
  'augment.cutmix': 0,
  'augment.erasing': 0,
  'optim.lr': 2e-3,
  'optim.scaleLr': false,
  'schedule.per': 'step',
  'schedule.warmupEpochs': 0.05,
  'distillation.type': 'hard',
  'teacher.model': 'regnety_002 w0=16 wa=8 wm=2.2 depth=4 group_width=8 num_classes=10 stem_stride=1',
  'teacher.share': 0.1,
};

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-mixed-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function train(name: string, overrides: Overrides, options: { resume?: boolean; stopAt?: number } = {}) {
  const gpu = await createEngine({ seed: 7 });
  const path = join(folder, name);
  const run = options.resume ? RunFolder.open(path) : RunFolder.create(name, path);
  const stop = new AbortController();
  const steps: StepProgress[] = [];
  const recipe = resolveRecipe(SMALL, overrides);
  const ignore = (): void => undefined;
  try {
    if (!options.resume)
      await run.writeJson('config.json', { version: '0', command: [], name, recipe: nestRecipe(recipe) });
    const result = await trainRecipe(gpu, {
      recipe,
      folder: run,
      reporter: {
        say: ignore,
        begin: ignore,
        evaluated: ignore,
        end: ignore,
        step: (role, progress) => {
          if (role === 'student') steps.push(progress);
          if (role === 'student' && progress.step === options.stopAt) stop.abort();
        },
      },
      resume: options.resume,
      signal: stop.signal,
    }).catch((error: unknown) => {
      if (error instanceof Interrupted) return null;
      throw error;
    });
    return { result, steps, path };
  } finally {
    run.close();
    gpu.close();
  }
}

/**
 * Steps of the small student on the labels of a teacher in f32. One in f16, as a recipe has it, gives another label where two
 * of its logits are all but equal, which is another training, not an error of this one; models/regnety.test.ts compares its logits.
 */
async function distill(precision: 'f32' | 'f16', count: number): Promise<StepProgress[]> {
  const gpu = await createEngine({ seed: 7 });
  const recipe = resolveRecipe(SMALL, { 'model.precision': precision });
  const sources = await openSources(recipe, 32);
  try {
    const source = sources.training(recipe['data.batchSize']);
    const teacher = createModel(gpu, recipe['teacher.model']!);
    teacher.requiresGrad_(false).eval();
    const student = studentOf(gpu, recipe, recipe['model.name']);
    const trainStep = new TrainStep({
      engine: gpu,
      student,
      teacher,
      optimizer: optimizerOf(recipe, 'student', student),
      distillation: distillationOf(recipe, true),
      smoothing: recipe['augment.smoothing'],
      mixing: null,
      ema: null,
      batchSize: source.batchSize,
      accumulate: 1,
      imageSize: 32,
    });
    const schedule = scheduleOf(recipe, 'student', count / source.batchesPerEpoch);
    const steps: StepProgress[] = [];
    const training = trainSteps({
      source,
      accumulate: 1,
      length: { steps: count, seconds: null },
      schedule: (step) => learningRate(schedule, step, source.batchesPerEpoch),
      run: (batches, step, lr) => trainStep.run(batches, step, lr),
    });
    for await (const { progress } of training) steps.push(progress);
    return steps;
  } finally {
    await sources.close();
    gpu.close();
  }
}

describe('training a distilled DeiT in f16', () => {
  withF16('follows the losses of f32', async () => {
    const runs = [await distill('f32', 40), await distill('f16', 40)];
    const [f32, f16] = runs.map((steps) => steps.map(({ loss }) => loss));
    // Operands are rounded to 2^-11 in a few layers, whose errors of both signs average out over a batch, on a loss that falls
    // from 2.3 to 1.3; the paths part slowly as rounding is fed back through 40 updates. A wrong scale, or gradients that
    // vanish, shows from the first steps.
    expect(relativeError(f16.slice(0, 5), f32.slice(0, 5))).toBeLessThan(HALF_UNIT / 4);
    expect(relativeError(f16, f32)).toBeLessThan(HALF_UNIT);
    expect(f16.at(-1)!).toBeLessThan(f16[0] - 0.4);
    expect(relativeError(f16, f32)).toBeGreaterThan(0);
    const scales = runs[1].map(({ lossScale }) => lossScale!);
    expect(scales.every(({ next, overflowed }) => next <= 65536 && next >= 256 && (next < 65536 || !overflowed))).toBe(
      true,
    );
    const norms = (i: number) => runs[i].filter((_, s) => !scales[s].overflowed).map(({ gradNorm }) => gradNorm);
    expect(relativeError(norms(1), norms(0))).toBeLessThan(4 * HALF_UNIT);
    expect(runs[0].every(({ lossScale }) => lossScale === null)).toBe(true);
  });

  withF16('resumes to the bit, the scale included', async () => {
    const overrides: Overrides = {
      'schedule.steps': 10,
      // A teacher of the student's kind, whose kernels are compiled already.
      'teacher.model': 'deit_tiny_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=1 heads=3 num_classes=10',
      'model.precision': 'f16',
      'model.dropPath': 0.2,
      'model.recompute': true,
      'data.accumulate': 2,
      'optim.ema': 0.9,
      'optim.clip': 1,
      'run.checkpointEvery': 1000,
    };
    const whole = await train('whole', overrides);
    const before = await train('parted', overrides, { stopAt: 6 });
    expect(before.result).toBeNull();
    const [saved] = readdirSync(join(before.path, 'checkpoints'));
    const { tensors } = await readSafetensors(join(before.path, 'checkpoints', saved));
    expect([...tensors.keys()].filter((name) => name.startsWith('scaler/')).sort()).toEqual([
      'scaler/growth_tracker',
      'scaler/scale',
      'scaler/skipped',
    ]);
    const after = await train('parted', overrides, { resume: true });
    const of = ({ steps }: { steps: StepProgress[] }) => steps.map(({ loss, lossScale }) => [loss, lossScale]);
    expect([...of(before), ...of(after)]).toEqual(of(whole));
    expect(after.result!.accuracy).toEqual(whole.result!.accuracy);
  });

  withF16('leaves steps out until the scale fits, and does not take them for faults', async () => {
    const gpu = engine();
    const student = createModel(gpu, SMALL['model.name'] as string);
    for (const [name, parameter] of student.namedParameters()) parameter.requiresGrad_(!name.startsWith('head_dist'));
    applyPrecision(student, 'f16');
    const scaler = new GradScaler(gpu, { initScale: 2 ** 30 });
    const optimizer = new AdamW([{ parameters: trainable(student), weightDecay: 0 }], { scaler });
    const step = new TrainStep({
      engine: gpu,
      student,
      teacher: null,
      optimizer,
      distillation: { type: 'none', alpha: 0, tau: 1, scaling: 'all' },
      smoothing: 0.1,
      mixing: null,
      ema: null,
      batchSize: 4,
      accumulate: 1,
      imageSize: 32,
    });
    const batch = {
      epoch: 0,
      number: 0,
      size: 4,
      images: uniform(4 * 3 * 1024, 5),
      labels: Int32Array.from([0, 1, 2, 3]),
    };
    const head = student.stateDict().get('head.weight')!;
    const before = Array.from(await head.read());
    let scale = 2 ** 30;
    let overflows = 0;
    for (let s = 0; s < 30; s++) {
      const { nonFinite, lossScale, loss } = await step.run([batch], s, 1e-3);
      expect([nonFinite, Number.isFinite(loss)]).toEqual([0, true]);
      expect(lossScale!.next).toBe(lossScale!.overflowed ? scale / 2 : scale);
      scale = lossScale!.next;
      if (!lossScale!.overflowed) break;
      overflows++;
      expect(Array.from(await head.read())).toEqual(before);
    }
    // Gradients of f16 tensors that reach 65504 / scale overflow: with some of 1e-4 and more, the scale has to come down.
    expect(overflows).toBeGreaterThan(0);
    expect(await scaler.skipped.item()).toBe(overflows);
    expect(Array.from(await head.read())).not.toEqual(before);
    step.release();
    optimizer.free();
  });

  withF16('keeps logits of a model near those in f32', async () => {
    const model = createModel(engine(), SMALL['model.name'] as string).eval();
    if (!(model instanceof VisionTransformer)) throw new Error('not a DeiT');
    const images = engine().tensor(uniform(8 * 3 * 1024, 1, 2), [8, 3, 32, 32]);
    const logits = async () => numbers(model.forward(images, 'average'));
    const f32 = await logits();
    model.precision = 'f16';
    const f16 = await logits();
    // Two blocks of four products, the errors of operands of each adding up as the root of their number.
    expectClose(f16, f32, 3 * HALF_UNIT);
    expect(f16).not.toEqual(f32);
    const inspected = model.inspect(images);
    expect(inspected.attention.every(({ dtype }) => dtype === 'f32')).toBe(true);
  });

  withF16('needs less memory, and few more dispatches', async () => {
    const plan = async (precision: 'f32' | 'f16', dropPath = 0) => {
      const recipe = resolveRecipe(SMALL, {
        'model.precision': precision,
        'distillation.type': 'none',
        'model.dropPath': dropPath,
        'model.name': 'deit_tiny_distilled_patch16_224 img_size=64 patch_size=8 depth=4 num_classes=10',
      });
      return planTraining(engine(), recipe, 10, { search: false });
    };
    const [f32, f16] = [await plan('f32'), await plan('f16')];
    // Of 14 widths that a block keeps of a token, 2 are of the f32 residual stream.
    expect(f16.parts.activations / f32.parts.activations).toBeLessThan(0.75);
    expect(f16.parts.weights).toBe(f32.parts.weights);
    // Those of loss scaling (7), weights, images, the last gradient of the residual stream, and of the heads (6): none in blocks.
    expect(f16.dispatches - f32.dispatches).toBeLessThanOrEqual(16);
    const dropped = [await plan('f32', 0.2), await plan('f16', 0.2)];
    expect(dropped[1].dispatches - dropped[0].dispatches).toBeLessThanOrEqual(16);
  });
});

const REGNETY: Overrides = {
  'model.name': 'regnety_002 w0=16 wa=8 wm=2.2 depth=4 group_width=8 num_classes=10 stem_stride=1 img_size=32',
  'distillation.type': 'none',
};

describe('training a RegNetY in f16', () => {
  withF16('follows the losses of f32', async () => {
    const run = async (precision: 'f32' | 'f16') =>
      train(`regnety-${precision}`, { ...REGNETY, 'schedule.steps': 12, 'model.precision': precision });
    const [f32, f16] = [await run('f32'), await run('f16')].map(({ steps }) => steps);
    const of = (key: 'loss' | 'gradNorm') =>
      [f16, f32].map((steps) => steps.map((step) => step[key])) as [number[], number[]];
    // As of a DeiT. Logits of a new head are small, so that losses vary by 1 % around log 10: the gradients say more.
    expect(relativeError(...of('loss'))).toBeLessThan(HALF_UNIT / 16);
    expect(relativeError(...of('loss'))).toBeGreaterThan(0);
    expect(relativeError(...of('gradNorm'))).toBeLessThan(HALF_UNIT);
    expect(f16.every(({ lossScale }) => lossScale!.next === 65536)).toBe(true);
  });

  withF16('needs less memory', async () => {
    const plan = (precision: 'f32' | 'f16') =>
      planTraining(engine(), resolveRecipe(SMALL, { ...REGNETY, 'model.precision': precision }), 10, { search: false });
    const [f32, f16] = [await plan('f32'), await plan('f16')];
    // Inputs of convolutions and norms are kept in f16; what gates, ReLUs and sums keep is f32.
    expect(f16.parts.activations / f32.parts.activations).toBeLessThan(0.8);
  });
});

// Last: to choose SwiftShader is for the rest of a process.
describe('an adapter without f16', () => {
  it('is a named error on SwiftShader, from the recipe on', async () => {
    const swift = await createEngine({ adapter: 'swiftshader' });
    const recipe = resolveRecipe({ 'model.precision': 'f16' }, {});
    await expect(planTraining(swift, recipe, 10, { search: false })).rejects.toThrow(/feature-missing[^]*shader-f16/);
    swift.close();
  });
});
