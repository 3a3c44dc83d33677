/** What a model is measured on after its training: the images that the training held out, and no others. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint, saveModel } from '../../deit/train/node/checkpoint.ts';
import type { TrainResult } from '../../deit/train/node/training-run.ts';
import { createModel } from '../../deit/models/registry.ts';
import { createEngine } from '../../engine/node.ts';
import { stateValues } from '../../nn/index.ts';
import { loadWeights } from '../../deit/weights/index.ts';
import { deit, lastJson } from '../support/command.ts';
import { integers } from '../support/generator.ts';
import { SMALL_RUN } from '../support/small-run.ts';

const MODEL = 'deit_tiny_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=1 num_heads=3';
const IMAGES = 12;
/** Neither the default nor one that another class or count would give the same images for. */
const [SEED, FRACTION] = [7, 0.5];
const RECIPE = {
  ...SMALL_RUN,
  'model.name': MODEL,
  'model.dropPath': 0,
  'data.valFraction': FRACTION,
  'data.batchSize': 12,
  'augment.crop': 'padded',
  'augment.padding': 0,
  'augment.flip': 0,
  'augment.colorJitter': 0,
  'augment.erasing': 0,
  'augment.mixup': 0,
  'augment.cutmix': 0,
  'augment.smoothing': 0,
  'run.evaluateEvery': 0,
};
let folder = '';
const path = (...parts: string[]): string => join(folder, ...parts);

interface Evaluation {
  readonly images: number;
  readonly accuracy: { readonly class: number; readonly loss: number };
  readonly heldOut: object;
}
const evaluate = async (...args: string[]) => {
  const { out, err } = await deit('evaluate', '--json', ...args);
  return { ...lastJson<Evaluation>(out), err };
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-held-out-'));
  for (const name of ['a', 'b']) {
    mkdirSync(path('noise', name), { recursive: true });
    for (let i = 0; i < IMAGES; i++) {
      const data = Uint8Array.from(integers(`${name}${i}`, 32 * 32 * 3, 256));
      await sharp(data, { raw: { width: 32, height: 32, channels: 3 } })
        .png()
        .toFile(path('noise', name, `${i}.png`));
    }
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a model trained with a seed and a fraction of its own', () => {
  let result: TrainResult;
  let loss = 0;
  const weights = () => path('run', 'student.safetensors');
  beforeAll(async () => {
    // Noise is learnt by heart: what was trained on has a far lower loss than what was held out.
    writeFileSync(path('recipe.json'), JSON.stringify(RECIPE));
    const data = relative(process.cwd(), path('noise'));
    const { out } = await deit('train', '--recipe', path('recipe.json'), '--data', data, '--seed', `${SEED}`, '--steps', '25', '--output', path('run'), '--json'); // prettier-ignore
    result = lastJson<TrainResult>(out);
    ({ loss } = await evaluate('--weights', weights()).then(({ accuracy }) => accuracy));
  });

  it('is measured on the images that were held out, which is said', async () => {
    const { images, accuracy, heldOut, err } = await evaluate('--weights', weights());
    expect(images).toBe(2 * FRACTION * IMAGES);
    expect(accuracy.class).toBe(result.accuracy.class);
    expect(heldOut).toEqual({ split: 'drawn', fraction: FRACTION, seed: SEED, list: null });
    expect(err).toContain(`held out: ${FRACTION} of every class, drawn by seed ${SEED}, as in the training`);
    const others = await evaluate('--weights', weights(), '--seed', '8');
    expect(others.err).toContain('not as in the training');
    expect(others.accuracy.loss).toBeLessThan(accuracy.loss / 1.2);
  });

  it('knows its data from any folder, and by a link to it', async () => {
    const { card } = await openCheckpoint(weights());
    expect(card).toMatchObject({ data: path('noise'), classes: ['a', 'b'] });
    symlinkSync(path('noise'), path('link'));
    expect((await evaluate('--weights', weights(), '--data', path('link'))).accuracy.loss).toBe(loss);
  });

  it('knows its data where it has been moved, and no other data for its own', async () => {
    cpSync(path('noise'), path('moved'), { recursive: true });
    const moved = await evaluate('--weights', weights(), '--data', path('moved'));
    expect(moved.accuracy.loss).toBe(loss);
    expect(moved.err).toContain('as in the training');
    rmSync(path('moved', 'a', '0.png'));
    const other = await evaluate('--weights', weights(), '--data', path('moved'));
    expect(other.images).toBe(2 * IMAGES - 1);
  });

  it('of an earlier version is not measured on a guess', async () => {
    const { tensors, card } = await openCheckpoint(weights());
    const engine = await createEngine();
    const model = createModel(engine, card!.model);
    loadWeights(model, stateValues(tensors));
    await saveModel(path('old.safetensors'), model, { ...card!, heldOut: undefined });
    engine.close();
    await expect(evaluate('--weights', path('old.safetensors'))).rejects.toThrow(/--val-fraction X --seed N/);
    const known = await evaluate('--weights', path('old.safetensors'), '--val-fraction', '0.5', '--seed', '7');
    expect(known.accuracy.loss).toBe(loss);
  });

  it('is measured on the images of a list, if it is asked for', async () => {
    writeFileSync(path('all.tsv'), ['a', 'b'].map((name) => `noise/${name}/0.png\t${name}`).join('\n'));
    writeFileSync(path('held.tsv'), 'noise/a/1.png\ta\nnoise/b/2.png\tb\nnoise/b/3.png\tb');
    const { images, err } = await evaluate('--weights', weights(), '--data', path('all.tsv'), '--val-list', path('held.tsv')); // prettier-ignore
    expect(images).toBe(3);
    expect(err).toContain(`held out: ${path('held.tsv')}`);
  });

  it('says where its data is missing', async () => {
    await expect(evaluate('--weights', 'shipped')).rejects.toThrow(/no ImageNet-1k[^]*--data PATH/);
  });
});

it('a model trained on folds is measured on the fold that was held out', async () => {
  const folds = ['--set', 'data.folds=3', '--set', 'data.fold=2'];
  writeFileSync(path('recipe.json'), JSON.stringify(RECIPE));
  const { out } = await deit('train', '--recipe', path('recipe.json'), '--data', path('noise'), '--steps', '25', ...folds, '--output', path('folded'), '--json'); // prettier-ignore
  const { accuracy } = lastJson<TrainResult>(out);
  const own = await evaluate('--weights', path('folded', 'student.safetensors'));
  // IMAGES of each of two classes, in thirds.
  expect(own.images).toBe(Math.round((2 * IMAGES) / 3));
  expect(own.accuracy.class).toBe(accuracy.class);
  expect(own.heldOut).toMatchObject({ folds: 3, fold: 2 });
  expect(own.err).toContain('held out: fold 2 of 3 of every class');
  // The whole has the images that were learnt by heart.
  const fifth = await evaluate('--weights', path('folded', 'student.safetensors'), '--val-fraction', '0.5');
  expect(fifth.accuracy.loss).toBeLessThan(own.accuracy.loss / 1.1);
});
