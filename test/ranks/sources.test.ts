/** `deit train` on two ranks is the run of one process also where images lie in tar shards or Parquet files. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { packShards } from '../../deit/data/node/pack.ts';
import { TABLES } from '../cases/parquet.ts';
import { uniform } from '../support/close.ts';
import {
  PLAIN,
  largestDifference,
  launchWell,
  linesOf,
  lossesOf,
  openMpi,
  place,
  recipeFile,
  training,
} from '../support/train-ranks.ts';

const SIDE = 40;

/** A photo of noise, as a portable pixmap. */
const photo = (seed: number): Uint8Array =>
  Buffer.concat([
    Buffer.from(`P6\n${SIDE} ${SIDE}\n255\n`),
    Uint8Array.from(uniform(3 * SIDE * SIDE, seed), (value) => 127.5 * (value + 1)),
  ]);

async function writeShards(): Promise<string> {
  const [folder, shards] = [place('photos'), place('shards')];
  for (const [part, count] of [
    ['train', 11],
    ['val', 3],
  ] as const) {
    for (const [label, name] of ['ant', 'bee'].entries()) {
      mkdirSync(join(folder, part, name), { recursive: true });
      for (let i = 0; i < count; i++) writeFileSync(join(folder, part, name, `${i}.ppm`), photo(100 * label + i));
    }
  }
  await packShards(folder, shards, 3);
  return shards;
}

function writeParquet(): string {
  const folder = place('parquet');
  mkdirSync(folder);
  for (const part of ['train', 'validation'] as const)
    writeFileSync(join(folder, `${part}-00000-of-00001.parquet`), Buffer.from(TABLES[part], 'base64'));
  return folder;
}

describe.runIf(openMpi)('deit train on two ranks', { timeout: 600_000 }, () => {
  beforeAll(async () => {
    // Mesa's own cache stays where it is, for what it has compiled already.
    vi.stubEnv('MESA_SHADER_CACHE_DIR', process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'));
    // Both ranks find Parquet files that nobody has laid out there yet.
    vi.stubEnv('XDG_CACHE_HOME', place('cache'));
    const recipe = (name: string, path: string, batchSize: number): string =>
      recipeFile(name, {
        ...PLAIN,
        model: { ...PLAIN.model, name: PLAIN.model.name.replace('num_classes=10', 'num_classes=2') },
        data: { ...PLAIN.data, path, batchSize, workers: 1 },
        augment: { repeats: 1 },
      });
    const shards = recipe('shards', await writeShards(), 8);
    const parquet = recipe('parquet', writeParquet(), 4);
    await launchWell(2, { args: training(shards, place('shards-2')) }, { args: training(parquet, place('parquet-2')) });
    await launchWell(1, { args: training(shards, place('shards-1')) }, { args: training(parquet, place('parquet-1')) });
  }, 600_000);
  afterAll(() => vi.unstubAllEnvs());

  it.each([
    ['shards', 6],
    ['parquet', 3],
  ])('from %s: the weights of one process to the bit, and all of the held-out images', async (name, heldOut) => {
    const [two, one] = [place(`${name}-2`), place(`${name}-1`)];
    expect(await largestDifference(two, one)).toBe(0);
    const [x, y] = [lossesOf(two), lossesOf(one)];
    expect(x).toHaveLength(PLAIN.schedule.steps);
    x.forEach((loss, i) => expect(Math.abs(loss! - y[i]!)).toBeLessThanOrEqual(3e-7));
    // Steps differ, so this is a training and not one image again and again.
    expect(new Set(x).size).toBe(x.length);
    expect(linesOf(two).at(-1)?.accuracy).toMatchObject({ images: heldOut });
  });

  it('lays Parquet files out once, however many ranks come to them together', () => {
    expect(readdirSync(join(place('cache'), 'deit-webgpu/parquet'))).toHaveLength(1);
  });
});
