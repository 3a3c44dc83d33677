/** `deit train` on several ranks, for tests: orders in one launch, faults where they are to be, comparisons of runs. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { encodeCifar10Record } from '../../deit/data/cifar.ts';
import { readSafetensorsFile, toFloat32 } from '../../engine/node.ts';
import { uniform } from './close.ts';
import { findOpenMpi, runRanks } from './mpi.ts';
import type { Ended } from './mpi.ts';
import type { Order, Said } from './train-ranks-orders.ts';

export interface Launched {
  readonly ended: Ended;
  /** By order, then by rank; an order that ended the launch said all to its standard error. */
  readonly said: readonly (readonly Said[])[];
}

export const openMpi = findOpenMpi();
export const folder = mkdtempSync(join(tmpdir(), 'deit-ranks-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
export const place = (name: string): string => join(folder, name);

/** 256 images make an epoch of repeated augmentation; 23 held-out ones are no multiple of any batch. */
const DATA = place('data');
export const HELD_OUT = 23;

/** Two slices of four images a step; checkpoints after steps 2 and 4 of 6, at DeiT's learning rate. */
export const PLAIN = {
  model: {
    name: 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=1 heads=3 num_classes=10',
    dropPath: 0.3,
  },
  data: { path: DATA, batchSize: 8, accumulate: 2, workers: 0 },
  augment: { policy: null, repeats: 3 },
  optim: { ema: 0.9, clip: 1, lr: 5e-4, scaleLr: false },
  schedule: { steps: 6, warmupEpochs: 0.01, per: 'step' },
  run: { evaluateEvery: 0, checkpointEvery: 2 },
};

let isThere = false;

/** Writes a recipe, and its data where that is not there yet. */
export function recipeFile(name: string, recipe: object): string {
  if (!isThere) writeData();
  isThere = true;
  const path = place(`${name}.json`);
  writeFileSync(path, JSON.stringify(recipe));
  return path;
}

function writeData(): void {
  mkdirSync(DATA);
  const parts = { 'data_batch_1.bin': 260, 'test_batch.bin': HELD_OUT };
  for (const [file, count] of Object.entries(parts)) {
    const record = (i: number): Uint8Array =>
      encodeCifar10Record(
        i % 10,
        Uint8Array.from(uniform(3072, i), (value) => 127.5 * (value + 1)),
      );
    writeFileSync(join(DATA, file), Buffer.concat(Array.from({ length: count }, (_, i) => record(i))));
  }
}

/** `train --output FOLDER` by a recipe. */
export const training = (recipe: string, run: string, ...rest: string[]): string[] => [
  'train',
  '--recipe',
  recipe,
  '--output',
  run,
  ...rest,
];

let launches = 0;

/** Carries out orders on so many ranks, in one launch. */
export async function launch(ranks: number, ...orders: Order[]): Promise<Launched> {
  const path = place(`orders-${launches++}.json`);
  writeFileSync(path, JSON.stringify(orders));
  const ended = await runRanks(openMpi!, ranks, 'test/ranks/train.ts', [path], { seconds: 580 });
  const byRank = Array.from({ length: ranks }, (_, rank) => {
    const file = `${path}.${rank}`;
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Said[]) : [];
  });
  return { ended, said: orders.map((_, i) => byRank.map((own) => own[i]).filter((one) => one !== undefined)) };
}

/** The same, all of which have to come to a good end. */
export async function launchWell(ranks: number, ...orders: Order[]): Promise<Launched> {
  const launched = await launch(ranks, ...orders);
  const codes = launched.said.map((own) => own.map(({ code }) => code));
  expect(codes, launched.ended.stderr).toEqual(orders.map(() => new Array<number>(ranks).fill(0)));
  return launched;
}

const weightsOf = async (path: string): Promise<Map<string, Float32Array>> =>
  new Map([...(await readSafetensorsFile(path)).tensors].map(([name, own]) => [name, toFloat32(own)]));

/** Between the tensors of two runs' files of this name. */
export async function largestDifference(a: string, b: string, file = 'student.safetensors'): Promise<number> {
  const [x, y] = [await weightsOf(join(a, file)), await weightsOf(join(b, file))];
  expect([...x.keys()]).toEqual([...y.keys()]);
  let largest = 0;
  for (const [name, own] of x) own.forEach((v, i) => (largest = Math.max(largest, Math.abs(v - y.get(name)![i]))));
  return largest;
}

export interface Line {
  /** Null where it is not finite. */
  readonly loss?: number | null;
  readonly lossScale?: { readonly next: number; readonly overflowed: boolean } | null;
  readonly accuracy?: number | { readonly images: number; readonly average: number; readonly top5: number };
}

export const linesOf = (run: string): Line[] =>
  readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

/** Of the steps, in order; null where one is not finite. */
export const lossesOf = (run: string): (number | null)[] =>
  linesOf(run)
    .map(({ loss }) => loss)
    .filter((loss) => loss !== undefined);
