/** `deit train` on several ranks is the run of one process, and its ranks end together. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSafetensorsFile, toFloat32 } from '../../engine/node.ts';
import { ran } from '../support/command.ts';
import { findOpenMpi, runRanks } from '../support/mpi.ts';
import type { Ended } from '../support/mpi.ts';

const openMpi = findOpenMpi();
const folder = mkdtempSync(join(tmpdir(), 'deit-ranks-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Two slices of four images a step; checkpoints after steps 2 and 4 of 6. */
const PLAIN = {
  model: {
    name: 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=1 heads=3 num_classes=10',
    dropPath: 0.3,
  },
  data: { batchSize: 8, accumulate: 2, workers: 0 },
  augment: { policy: null, repeats: 3 },
  optim: { ema: 0.9, clip: 1 },
  schedule: { steps: 6, warmupEpochs: 0.01, per: 'step' },
  run: { evaluateEvery: 0, checkpointEvery: 2 },
};
/** A teacher with batch norms, trained in the run; slices of four images again, one a rank: the recipe does not say how many. */
const WITH_TEACHER = {
  ...PLAIN,
  data: { batchSize: 12, workers: 0 },
  distillation: { type: 'hard' },
  teacher: { model: 'regnety_002 w0=16 wa=8 wm=2.0 depth=3 group_width=8' },
};

const recipeFile = (name: string, recipe: object): string => {
  const path = join(folder, `${name}.json`);
  writeFileSync(path, JSON.stringify(recipe));
  return path;
};
const plain = recipeFile('plain', PLAIN);
const withTeacher = recipeFile('with-teacher', WITH_TEACHER);
const place = (name: string): string => join(folder, name);

const onRanks = (count: number, fault: readonly string[], ...args: string[]): Promise<Ended> =>
  runRanks(openMpi!, count, 'test/ranks/train.ts', [...fault, 'train', ...args]);
const NO_FAULT = ['none', '0', '0'];

async function alone(...args: string[]): Promise<void> {
  const { code, err } = await ran('train', ...args);
  expect(code, err).toBe(0);
}

const weightsOf = async (run: string, file: string): Promise<Map<string, Float32Array>> =>
  new Map([...(await readSafetensorsFile(join(run, file))).tensors].map(([name, own]) => [name, toFloat32(own)]));

async function largestDifference(a: string, b: string, file: string): Promise<number> {
  const [x, y] = [await weightsOf(a, file), await weightsOf(b, file)];
  expect([...x.keys()]).toEqual([...y.keys()]);
  let largest = 0;
  for (const [name, own] of x) own.forEach((v, i) => (largest = Math.max(largest, Math.abs(v - y.get(name)![i]))));
  return largest;
}

interface Line {
  readonly loss?: number;
  readonly accuracy?: number | { readonly images: number; readonly average: number; readonly top5: number };
}
const linesOf = (run: string): Line[] =>
  readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

// Processes that start, and compile, on a machine that may be busy with others.
describe.runIf(openMpi)('deit train on several ranks', { timeout: 400_000 }, () => {
  let whole = '';
  beforeAll(async () => {
    whole = place('whole');
    await alone('--recipe', plain, '--output', whole);
  });

  it('is the run of one process, with a teacher trained in it; an uneven number of batches is evaluated', async () => {
    const [three, one] = [place('three'), place('one')];
    const ended = await onRanks(3, NO_FAULT, '--recipe', withTeacher, '--output', three, '--json');
    expect(ended.code, ended.stderr).toBe(0);
    await alone('--recipe', withTeacher, '--set', 'data.accumulate=3', '--output', one);
    const [lines, expected] = [linesOf(three), linesOf(one)];
    expect(lines).toHaveLength(expected.length);
    lines.forEach((line, i) => {
      // Sums of three slices in another order.
      if (line.loss !== undefined) expect(Math.abs(line.loss - expected[i].loss!)).toBeLessThanOrEqual(1e-6);
      // 500 images are 125 batches of four, over three ranks: counts are the same to the last image.
      else expect(line.accuracy).toMatchObject({ images: 500 });
      if (typeof line.accuracy !== 'object') return;
      const { average, top5 } = expected[i].accuracy as { average: number; top5: number };
      expect(line.accuracy).toMatchObject({ average, top5 });
    });
    // Adam turns rounding of gradients near zero into steps of the learning rate; running statistics are sums too.
    expect(await largestDifference(three, one, 'student.safetensors')).toBeLessThanOrEqual(1e-5);
    expect(await largestDifference(three, one, 'student-ema.safetensors')).toBeLessThanOrEqual(1e-5);
    expect(await largestDifference(three, one, 'teacher.safetensors')).toBeLessThanOrEqual(1e-5);
    // One voice, and what several ranks cost.
    expect(ended.stderr.match(/^recipe: /gm)).toHaveLength(1);
    expect(ended.stderr).toContain('ranks: 3, each computes 1 of the 3 slices of 4 images');
    expect(ended.stderr).toMatch(/^3 ranks: \d+\.\d % of the time in collectives/m);
    const result = JSON.parse(ended.stdout.trim()) as { ranks: { ranks: number; waiting: number } };
    expect(result.ranks.ranks).toBe(3);
    expect(JSON.parse(readFileSync(join(three, 'config.json'), 'utf8'))).toMatchObject({
      recipe: { data: { accumulate: 3 } },
    });
  });

  it.each([
    ['throw', /^rank 1 \(.*\): Error: thrown by the test/m, 1],
    ['lost', /^rank 1 \(.*\): \[device-lost\]/m, 1],
    ['nan', /^\[non-finite\][^]*step 5[^]*found: rank 1, batch 10: the data: image 1 of batch 10/m, 1],
    ['kill', /rank 1 .*exited on signal 9/, 137],
  ])('%s on one rank ends all within seconds; the run goes on in one process', async (fault, told, exitCode) => {
    const run = place(fault);
    const ended = await onRanks(2, [fault, '1', '5'], '--recipe', plain, '--output', run);
    expect(ended.code).toBe(exitCode);
    expect(ended.stderr).toMatch(told);
    // One message, whoever it comes from.
    expect(ended.stderr.match(/^(rank \d+ \(.*\): |Error: |\[[a-z-]+\])/gm)?.length ?? 0).toBe(
      fault === 'kill' ? 0 : 1,
    );
    // From the last step that was told to the end of the launcher; all is over 10 seconds after the fault.
    expect(ended.sinceLast('student 4/6')).toBeLessThan(10);
    expect(existsSync(join(run, 'checkpoints', 'student-00000004.safetensors'))).toBe(true);
    await alone('--resume', run);
    expect(await largestDifference(run, whole, 'student.safetensors')).toBe(0);
  });

  it('a signal to one rank stops all after the same step; one process, then two go on to the same weights', async () => {
    const run = place('signal');
    const first = await onRanks(2, ['signal', '1', '3'], '--recipe', plain, '--output', run);
    // 128 + SIGUSR2.
    expect(first.code, first.stderr).toBe(140);
    expect(first.stderr).toMatch(/^stopped the student after step 3 of 6/m);
    const second = await onRanks(2, NO_FAULT, '--recipe', plain, '--output', run, '--resume', 'auto');
    expect(second.code, second.stderr).toBe(0);
    expect(await largestDifference(run, whole, 'student.safetensors')).toBe(0);
    expect(await largestDifference(run, whole, 'student-ema.safetensors')).toBe(0);
  });

  it('worlds that do not divide the slices are refused, by one message', async () => {
    const ended = await onRanks(3, NO_FAULT, '--recipe', plain, '--output', place('refused'));
    expect(ended.code).toBe(1);
    expect(ended.stderr.match(/\[bad-config\]/g)).toHaveLength(1);
    expect(ended.stderr).toContain('a number of ranks that divides 2: 1, 2');
    expect(existsSync(place('refused'))).toBe(false);
  });
});
