import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createEngine } from '../../engine/node.ts';
import { expectThat } from './drill.ts';
import type { DrillOptions } from './drill.ts';
import { openFolder, smallOverrides, trainInProcess } from './in-process.ts';

const STEPS = 5000;
const ENGINES = 200;
const EVERY = 100;
/** Samples at the start, while pools and code settle, that are left out. */
const SETTLING = 0.2;
const MiB = 2 ** 20;

interface Sample {
  readonly step: number;
  readonly gpuBytes: number;
  readonly heap: number;
  readonly resident: number;
  readonly files: number;
  readonly threads: number;
  readonly seconds: number;
}

/** Thousands of steps with evaluation and checkpoints, then hundreds of engines opened and closed: nothing may grow. */
export async function soak({ folder, count, say }: DrillOptions): Promise<string> {
  const steps = count ?? STEPS;
  const engines = Math.ceil((ENGINES * steps) / STEPS);
  setFlagsFromString('--expose_gc');
  const collect = runInNewContext('gc') as () => void;
  const sample = (step: number, gpuBytes: number): Sample => {
    collect();
    const { heapUsed: heap, rss: resident } = process.memoryUsage();
    const entries = (of: string): number => readdirSync(`/proc/self/${of}`).length;
    return {
      step,
      gpuBytes,
      heap,
      resident,
      files: entries('fd'),
      threads: entries('task'),
      seconds: performance.now() / 1000,
    };
  };
  // 150 steps per epoch: evaluated every hundredth step, as checkpoints are written.
  const overrides = {
    ...smallOverrides(),
    'data.accumulate': 1,
    'schedule.steps': steps,
    'run.checkpointEvery': EVERY,
    'run.evaluateEvery': EVERY / 150,
  };
  const run = await openFolder(join(folder, 'soak'), overrides);
  const samples: Sample[] = [];
  await trainInProcess({
    overrides,
    folder: run,
    onStep: ({ step }, engine) => {
      if (step % EVERY !== EVERY / 2) return;
      samples.push(sample(step, engine.memory().totalBytes));
      if (step % 500 < EVERY) say(JSON.stringify(samples.at(-1)));
    },
  });
  run.close();
  const settled = samples.slice(Math.ceil(samples.length * SETTLING));
  const [first, last] = [settled[0], settled[settled.length - 1]];
  const heapSlope = slope(settled.map(({ step, heap }) => [step, heap])) / 1024;
  const residentSlope = slope(settled.map(({ step, resident }) => [step, resident])) / 1024;
  const half = Math.floor(settled.length / 2);
  const slowdown =
    median(intervals(settled.slice(half))) / Math.max(1e-9, median(intervals(settled.slice(0, half + 1))));
  expectThat(
    new Set(settled.map(({ gpuBytes }) => gpuBytes)).size === 1,
    `the engine's account moved: ${settled.map(({ gpuBytes }) => gpuBytes).join(' ')}`,
  );
  expectThat(
    last.files === first.files && last.threads === first.threads,
    `files ${first.files} to ${last.files}, threads ${first.threads} to ${last.threads}`,
  );
  // Metrics of a step are a few hundred bytes on the disk; nothing of it may stay on the heap.
  expectThat(heapSlope < 0.2, `the heap grows by ${heapSlope.toFixed(2)} KiB a step`);
  expectThat(residentSlope < 4, `resident memory grows by ${residentSlope.toFixed(2)} KiB a step`);
  expectThat(slowdown < 1.5, `steps took ${slowdown.toFixed(2)} times as long in the second half`);

  const before: Sample[] = [];
  for (let i = 0; i < engines; i++) {
    const engine = await createEngine();
    const x = engine.zeros([1024]);
    await x.read();
    engine.close();
    if (i % 10 === 9) before.push(sample(i, 0));
  }
  const opened = before.slice(Math.ceil(before.length * SETTLING));
  const [early, late] = [opened[0], opened[opened.length - 1]];
  const grown = ((late.resident - early.resident) / MiB).toFixed(1);
  expectThat(
    late.files === early.files && late.threads === early.threads,
    `engines left files (${early.files} to ${late.files}) or threads (${early.threads} to ${late.threads})`,
  );
  expectThat(late.resident - early.resident < 64 * MiB, `${engines} engines left ${grown} MiB behind`);
  return (
    `${steps} steps: account flat at ${(last.gpuBytes / MiB).toFixed(1)} MiB, heap ${heapSlope.toFixed(3)} and resident ${residentSlope.toFixed(3)} KiB a step, ` +
    `second half ${slowdown.toFixed(2)} times the first, ${last.files} files and ${last.threads} threads throughout; ${engines} engines: ${grown} MiB more`
  );
}

const intervals = (samples: readonly Sample[]): number[] =>
  samples.slice(1).map(({ seconds }, i) => seconds - samples[i].seconds);

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];

/** Of the least-squares line through points (x, y). */
function slope(points: readonly (readonly [number, number])[]): number {
  const mean = (of: 0 | 1): number => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const covariance = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return covariance / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}
