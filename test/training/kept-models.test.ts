/** Which models a run keeps, how they are found again, and that a run goes on only over the classes that it began with. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../deit/train/node/checkpoint.ts';
import type { Accuracy } from '../../deit/train/tally.ts';
import type { TrainResult } from '../../deit/train/node/training-run.ts';
import { deit, lastJson, ran } from '../support/command.ts';
import { integers } from '../support/generator.ts';
import { SMALL_RUN } from '../support/small-run.ts';

const RECIPE = {
  ...SMALL_RUN,
  'model.name': 'deit_tiny_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=1 num_heads=3',
  'model.dropPath': 0,
  'data.valFraction': 0.5,
  'data.batchSize': 12,
  'optim.ema': 0.8,
  'augment.mixup': 0,
  'augment.cutmix': 0,
  'run.evaluateEvery': 2,
  'run.checkpointEvery': 4,
};
let folder = '';
const path = (...parts: string[]): string => join(folder, ...parts);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-kept-'));
  for (const name of ['a', 'b']) {
    mkdirSync(path('noise', name), { recursive: true });
    for (let i = 0; i < 12; i++) {
      const data = Uint8Array.from(integers(`${name}${i}`, 32 * 32 * 3, 256));
      const picture = sharp(data, { raw: { width: 32, height: 32, channels: 3 } }).png();
      await picture.toFile(path('noise', name, `${i}.png`));
    }
  }
  writeFileSync(path('recipe.json'), JSON.stringify(RECIPE));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface EvaluationLine {
  readonly step: number;
  readonly accuracy: Accuracy | number;
  readonly ema: Accuracy | null;
}

describe('a run', () => {
  let result: TrainResult;
  let evaluations: { step: number; accuracy: Accuracy; ema: Accuracy | null }[];
  beforeAll(async () => {
    const options = [
      '--recipe',
      path('recipe.json'),
      '--data',
      path('noise'),
      '--steps',
      '12',
      '--output',
      path('run'),
    ];
    const { out, err } = await deit('train', '--json', ...options);
    expect(err).not.toMatch(/Error/);
    result = lastJson<TrainResult>(out);
    const lines = readFileSync(path('run', 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    evaluations = lines
      .map((line) => JSON.parse(line) as EvaluationLine)
      .filter((line): line is (typeof evaluations)[number] => typeof line.accuracy === 'object');
  });

  it('keeps the weights that did best on the held-out images, the first of equals', async () => {
    expect(evaluations.map(({ step }) => step)).toEqual([2, 4, 6, 8, 10, 12]);
    const highest = Math.max(...evaluations.map(({ accuracy }) => accuracy.average));
    const first = evaluations.find(({ accuracy }) => accuracy.average === highest)!;
    expect(result.best).toEqual({ step: first.step, accuracy: highest });
    const { card } = await openCheckpoint(path('run', 'student-best.safetensors'));
    const { average: accuracy, loss } = first.accuracy;
    expect(card?.measured).toEqual({ step: first.step, average: false, accuracy, loss });
    // Measured anew, they do as they did.
    const { out } = await deit('evaluate', '--json', '--weights', path('run'));
    expect(lastJson<{ accuracy: Accuracy }>(out).accuracy).toMatchObject({ average: accuracy });
    expect(lastJson<{ accuracy: Accuracy }>(out).accuracy.loss).toBeCloseTo(loss, 6);
  });

  it('keeps the moving average, which evaluate finds', async () => {
    const last = evaluations.at(-1)!;
    const { card } = await openCheckpoint(path('run', 'student-ema.safetensors'));
    const { average: accuracy, loss } = last.ema!;
    expect(card?.measured).toEqual({ step: 12, average: true, accuracy, loss });
    const { out } = await deit('evaluate', '--json', '--ema', '--weights', path('run'));
    expect(lastJson<{ accuracy: Accuracy }>(out).accuracy.loss).toBeCloseTo(loss, 6);
    // The average is not the last weights.
    expect(Math.abs(loss - last.accuracy.loss)).toBeGreaterThan(1e-5);
  });

  it('is found in a folder of checkpoints too', async () => {
    const { out } = await deit('evaluate', '--json', '--weights', path('run', 'checkpoints'));
    const eighth = evaluations.find(({ step }) => step === 8)!;
    expect(lastJson<{ accuracy: Accuracy }>(out).accuracy.loss).toBeCloseTo(eighth.accuracy.loss, 6);
  });

  it('is not gone on with over classes of other names', async () => {
    rmSync(path('run', 'result.json'));
    renameSync(path('noise', 'a'), path('noise', 'c'));
    const { err, code } = await ran('train', '--resume', path('run'));
    renameSync(path('noise', 'c'), path('noise', 'a'));
    expect(code).toBe(1);
    expect(err).toContain('[class-mismatch]');
    expect(err).toMatch(/\ba\b.*\bc\b|\bc\b.*\ba\b/s);
  });
});

it('ends early where patience runs out, and keeps the best', async () => {
  // Nothing is learned, so that no evaluation after the first, at step 2, is better.
  const still = ['optim.lr=0', 'schedule.minLr=0', 'schedule.warmupLr=0', 'run.patience=2', 'run.tensorboard=true'];
  const { out, err } = await deit(
    ...['train', '--json', '--recipe', path('recipe.json'), '--data', path('noise'), '--steps', '12'],
    ...['--output', path('patient'), ...still.flatMap((setting) => ['--set', setting])],
  );
  const { steps, best } = lastJson<TrainResult>(out);
  expect([steps, best?.step]).toEqual([6, 2]);
  expect(err).toContain('ends after step 6 of 12');
  expect(readdirSync(path('patient', 'tensorboard'))).toHaveLength(1);
  const never = ['--set', 'run.patience=2', '--set', 'run.evaluateEvery=0', '--output', path('never')];
  await expect(deit('train', '--data', path('noise'), '--recipe', path('recipe.json'), ...never)).rejects.toThrow(
    'Patience',
  );
  expect(existsSync(path('never'))).toBe(false);
});
