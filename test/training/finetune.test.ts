/** From a folder of pictures to a fine-tuned checkpoint, through the commands, on a model small enough for any machine. */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Prediction } from '../../deit/cli/predict.ts';
import { createModel, describeModel } from '../../deit/models/registry.ts';
import { resolveRecipe } from '../../deit/recipe/resolve.ts';
import { openCheckpoint, saveModel } from '../../deit/train/node/checkpoint.ts';
import { openSources } from '../../deit/train/node/sources.ts';
import type { TrainResult } from '../../deit/train/node/training-run.ts';
import { optimizerOf } from '../../deit/train/setup.ts';
import { TrainStep } from '../../deit/train/step.ts';
import { loadWeights } from '../../deit/weights/index.ts';
import { f16ToNumber, numberToF16 } from '../../engine/float16.ts';
import { createEngine, toFloat32 } from '../../engine/node.ts';
import type { StoredTensor } from '../../engine/node.ts';
import { stateValues } from '../../nn/index.ts';
import { uniform } from '../support/close.ts';
import { deit, lastJson } from '../support/command.ts';

const SPEC = 'deit_tiny_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=2 num_heads=3';
const NAMES = Array.from({ length: 10 }, (_, i) => `thing ${i}`);
let folder = '';
const path = (...parts: string[]): string => join(folder, ...parts);

/** A picture of nearly one colour. */
async function picture(file: string, red: number, blue: number): Promise<void> {
  mkdirSync(join(file, '..'), { recursive: true });
  const background = { r: red, g: 60, b: blue };
  await sharp({ create: { width: 40, height: 36, channels: 3, background } })
    .png()
    .toFile(file);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-finetune-'));
  for (const [split, count] of [
    ['train', 12],
    ['val', 6],
  ] as const) {
    for (let i = 0; i < count; i++) {
      await picture(path('photos', split, 'blue', `${i}.png`), 10 + 5 * i, 180 + 5 * i);
      await picture(path('photos', split, 'red', `${i}.png`), 180 + 5 * i, 10 + 5 * i);
    }
  }
  writeFileSync(path('photos', 'train', 'red', 'broken.png'), 'no picture');
  const engine = await createEngine({ seed: 3 });
  const card = { imageSize: 32, cropPct: 0.875, interpolation: 'bicubic', data: 'nothing' } as const;
  await saveModel(path('base.safetensors'), createModel(engine, SPEC, { classes: 10 }), {
    ...card,
    model: `${SPEC} num_classes=10`,
    classes: NAMES,
  });
  engine.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const small = ['--set', 'data.batchSize=8', '--set', 'data.workers=0', '--set', 'optim.lr=2e-3'];
const finetune = (output: string, ...args: string[]) =>
  deit(
    'finetune',
    '--data',
    path('photos'),
    '--weights',
    path('base.safetensors'),
    '--output',
    path(output),
    '--json',
    ...small,
    ...args,
  );
const tensorsOf = async (file: string): Promise<Map<string, StoredTensor>> =>
  (await openCheckpoint(path(file))).tensors;

/** Names of tensors of the same shape whose bytes differ. */
async function changed(a: string, b: string): Promise<string[]> {
  const [before, after] = [await tensorsOf(a), await tensorsOf(b)];
  return [...before]
    .filter(([name, { bytes }]) => !Buffer.from(bytes).equals(Buffer.from(after.get(name)!.bytes)))
    .map(([name]) => name);
}

describe('fine-tuning', () => {
  const trained = 'tuned/student.safetensors';
  let result: TrainResult;
  let err = '';
  beforeAll(async () => {
    const run = await finetune('tuned', '--epochs', '8', '--set', 'optim.freezeBlocks=1');
    result = lastJson<TrainResult>(run.out);
    ({ err } = run);
  });

  it('learns the classes of a folder with a new head, whose names the checkpoint keeps', async () => {
    // Blue and red pictures: nothing less than all of them.
    expect(result.accuracy.class).toBe(1);
    expect(result.steps).toBe(24); // 25 files, 8 at a time, the rest left out: 3 steps an epoch
    const { card, tensors } = await openCheckpoint(path(trained));
    expect(card).toMatchObject({ classes: ['blue', 'red'], imageSize: 32, data: path('photos') });
    expect(describeModel(card!.model).classes).toBe(2);
    expect(tensors.get('head.weight')!.shape).toEqual([2, 48]);
    expect(err).toMatch(
      /the head is new: its classes were others \(only in the data: blue, red; only in the weights: thing 0, .* and 5 more\)/,
    );
  });

  it('leaves frozen blocks as they were, to the bit', async () => {
    const names = await changed('base.safetensors', trained);
    expect(names.filter((name) => /^(cls_token|pos_embed|patch_embed|blocks\.0\.)/.test(name))).toEqual([]);
    expect(names.filter((name) => name.startsWith('blocks.1.'))).toHaveLength(12);
    expect(names).toEqual(expect.arrayContaining(['norm.weight', 'norm.bias', 'head.weight', 'head.bias']));
  });

  it('leaves out a file that is no picture, counts and names it', () => {
    expect(err).toMatch(/1 image could not be read and was left out[^]*broken\.png/);
  });

  it('evaluates after every epoch', () => {
    const lines = readFileSync(path('tuned', 'metrics.jsonl'), 'utf8').trim().split('\n');
    const evaluated = lines.map((line) => JSON.parse(line) as { step: number; accuracy?: number | { images: number } });
    const accuracies = evaluated.filter(({ accuracy }) => typeof accuracy === 'object');
    expect(accuracies.map(({ step }) => step)).toEqual([3, 6, 9, 12, 15, 18, 21, 24]);
    expect(accuracies.every(({ accuracy }) => (accuracy as { images: number }).images === 12)).toBe(true);
  });

  it('is evaluated class by class', async () => {
    const { out } = await deit('evaluate', '--weights', path(trained), '--json');
    expect(lastJson(out)).toMatchObject({
      images: 12,
      skipped: 0,
      accuracy: { class: 1, distillation: null, top5: 1 },
      perClass: [
        { class: 0, name: 'blue', images: 6, recall: 1, precision: 1 },
        { class: 1, name: 'red', images: 6, recall: 1, precision: 1 },
      ],
      confusion: [
        [6, 0],
        [0, 6],
      ],
    });
  });

  it('is exported in f16, and predicts from there', async () => {
    await deit('export', '--weights', path(trained), '--dtype', 'f16', '--output', path('half.safetensors'));
    const [whole, half] = [await tensorsOf(trained), await tensorsOf('half.safetensors')];
    expect([...half.keys()].sort()).toEqual([...whole.keys()].sort());
    for (const [name, tensor] of half) {
      expect(tensor.dtype).toBe('F16');
      const expected = Array.from(toFloat32(whole.get(name)!), (value) => f16ToNumber(numberToF16(value)));
      expect([...toFloat32(tensor)]).toEqual(expected);
    }
    const { out } = await deit('predict', '--weights', path('half.safetensors'), '--json', path('photos', 'val'));
    const predictions = out.trim().split('\n').map((line) => JSON.parse(line) as Prediction); // prettier-ignore
    expect(predictions).toHaveLength(12);
    for (const { file, top5 } of predictions) {
      expect(file).toContain(`/${top5[0].name}/`);
      expect(top5.map(({ class: index }) => ['blue', 'red'][index])).toEqual(top5.map(({ name }) => name));
      expect(top5.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 5); // f32
    }
  });

  it('of the head alone leaves all else as it was', async () => {
    await finetune('head', '--steps', '2', '--set', 'optim.headOnly=true', '--set', 'optim.freezeBlocks=0');
    expect((await changed('base.safetensors', 'head/student.safetensors')).sort()).toEqual([
      'head.bias',
      'head.weight',
    ]);
  });

  it('takes a fine-tuned teacher, and both to another resolution', async () => {
    const model = ['--model', SPEC.replace('tiny_', 'tiny_distilled_').replace('img_size=32', 'img_size=48')];
    const run = await finetune('distilled', '--teacher', path(trained), '--steps', '2', ...model);
    const { accuracy } = lastJson<TrainResult>(run.out);
    expect(accuracy.distillation).not.toBeNull();
    expect(accuracy.teacher).toBe(1);
    expect(run.err).toMatch(/copy of the class token/);
    expect(run.err.match(/resized the position embedding from 4 x 4 to 6 x 6/g)).toHaveLength(2);
    expect((await tensorsOf('distilled/student.safetensors')).get('pos_embed')!.shape).toEqual([1, 2 + 36, 48]);
  });

  it('says what is wrong with settings and data', async () => {
    await expect(finetune('a', '--set', 'data.batchSize=7', '--set', 'augment.mixup=0.8')).rejects.toThrow(/even[^]*7/);
    await expect(finetune('b', '--set', 'data.unreadable=fatal', '--epochs', '1')).rejects.toThrow(/broken\.png/);
    await expect(finetune('c', '--set', 'data.batchSize=64')).rejects.toThrow(/smaller than one batch/);
    await expect(finetune('d', '--model', `${SPEC} num_classes=3`)).rejects.toThrow(/2 classes[^]*3/);
    const others = ['evaluate', '--weights', path('base.safetensors'), '--data', path('photos')];
    await expect(deit(...others)).rejects.toThrow(/only in the data: blue, red\n.*only in the weights: thing 0/);
    mkdirSync(path('void'));
    await expect(deit('predict', '--weights', path(trained), path('void'))).rejects.toThrow(/no images here/);
  });
});

describe('the data of a recipe', () => {
  it('may be two lists, decoded through a cache on disk', async () => {
    const list = (split: string, count: number): string => {
      const lines = ['red', 'blue'].flatMap((name) =>
        Array.from({ length: count }, (_, i) => `${name}/${i}.png\t${name}`),
      );
      const file = path('photos', split, 'list.tsv');
      writeFileSync(file, lines.join('\n'));
      return file;
    };
    const recipe = resolveRecipe({
      'data.path': list('train', 3),
      'data.valPath': list('val', 2),
      'data.cache': path('cache'),
      'data.cacheSide': 32,
      'data.workers': 0,
      'augment.repeats': 1,
    });
    const sources = await openSources(recipe, 32);
    expect([sources.train.length, sources.validation.length, ...sources.classes]).toEqual([6, 4, 'blue', 'red']);
    const loader = sources.training(6);
    for (const epoch of [0, 1]) for await (const { size } of loader.epoch(epoch)) expect(size).toBe(6);
    await sources.close();
    // Six pictures, each once, in folders of two letters.
    const entries = readdirSync(path('cache'), { recursive: true }).filter((name) => String(name).endsWith('.rgb'));
    expect(entries).toHaveLength(6);
  });
});

describe('a distilled student', () => {
  it('starts from weights without a distillation token: token and position are copies of the class token', async () => {
    const engine = await createEngine({ seed: 1 });
    const model = createModel(engine, SPEC.replace('tiny_', 'tiny_distilled_'), { classes: 10 });
    const given = stateValues(await tensorsOf('base.safetensors'));
    expect(() => loadWeights(model, given)).toThrow(/dist_token/);
    loadWeights(model, given, { newHead: true });
    const state = model.stateDict();
    const read = async (name: string): Promise<number[]> => [...(await state.get(name)!.read())];
    expect(await read('dist_token')).toEqual([...(given.get('cls_token')!.data as Float32Array)]);
    const positions = [...(given.get('pos_embed')!.data as Float32Array)];
    expect(await read('pos_embed')).toEqual([...positions.slice(0, 48), ...positions]);
    engine.close();
  });

  it('without teacher in evaluation mode is trained on the average of its heads', async () => {
    const engine = await createEngine({ seed: 1 });
    const recipe = resolveRecipe({ 'run.trainMode': false, 'optim.lr': 0 });
    const student = createModel(engine, SPEC.replace('tiny_', 'tiny_distilled_'), { classes: 10 }).eval();
    const optimizer = optimizerOf(recipe, 'student', student);
    expect(optimizer.parameters.map(([name]) => name)).toContain('head_dist.weight');
    const common = { engine, student, teacher: null, optimizer, ema: null, mixing: null, smoothing: 0 };
    const distillation = { type: 'none', alpha: 0.5, tau: 1, scaling: 'all' } as const;
    const step = new TrainStep({ ...common, distillation, batchSize: 2, accumulate: 1, imageSize: 32 });
    const images = uniform(2 * 3 * 32 * 32, 5);
    const { cls, dist } = engine.noGrad(() => student.heads(engine.tensor(images, [2, 3, 32, 32])));
    const [own, other] = [await cls.read(), await dist!.read()];
    const labels = Int32Array.of(3, 7);
    const losses = [...labels].map((label, row) => {
      const average = Array.from({ length: 10 }, (_, c) => (own[10 * row + c] + other[10 * row + c]) / 2);
      return Math.log(average.reduce((sum, z) => sum + Math.exp(z), 0)) - average[label];
    });
    const { loss } = await step.run([{ epoch: 0, number: 0, size: 2, images, labels }], 0, 0);
    expect(loss).toBeCloseTo((losses[0] + losses[1]) / 2, 5); // f32 sums of a loss near 2.3
    engine.close();
  });
});
