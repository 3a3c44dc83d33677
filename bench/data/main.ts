/**
 * `npm run bench -- --data FOLDER [--python PYTHON] [--images N] [--rounds N]`: CPU time of the data pipeline for an image, by
 * part, beside timm's where a Python that has it is named. FOLDER holds a folder of photos a class. Ours and timm's take turns,
 * so that a machine that is busy with other work slows both; medians over the rounds.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Dataset, RgbImage } from '../../deit/data/dataset.ts';
import { SubsetDataset } from '../../deit/data/dataset.ts';
import { decodeBytes } from '../../deit/data/node/decode.ts';
import { DataLoader } from '../../deit/data/node/loader.ts';
import { openPart } from '../../deit/data/node/open.ts';
import { evaluationPipeline, makeTransform, trainingPipeline } from '../../deit/data/pipeline.ts';
import type { Pipeline } from '../../deit/data/pipeline.ts';
import { sampleStream } from '../../deit/data/sampler.ts';

const SIZE = 224;
const BATCH = 50;

const parts = {
  decode: 'decode',
  crop: 'random crop, resize, normalise',
  augment: 'the same with RandAugment',
  training: 'training loader: files to batches',
  evaluation: 'evaluation loader',
} as const;
type Part = keyof typeof parts;
const partNames = Object.keys(parts) as Part[];

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

/** CPU time of all threads in ms. */
async function cpuTime(work: () => void | Promise<void>): Promise<number> {
  const start = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

/** What each part does, once over all images. */
async function ourParts(dataset: Dataset): Promise<Record<Part, () => void | Promise<void>>> {
  const files = Array.from({ length: dataset.length }, (_, i) => readFileSync(dataset.path!(i)));
  const images = await Promise.all(files.map((bytes) => decodeBytes(bytes, 'photo')));
  const plain = { imageSize: SIZE, erasing: null, autoAugment: null };
  const out = new Float32Array(3 * SIZE * SIZE);
  const each = (pipeline: Pipeline): (() => void) => {
    const transform = makeTransform(pipeline);
    const show = (image: RgbImage, index: number): void =>
      transform(image, sampleStream(0, 0, { index, copy: 0 }), out, 0);
    return () => images.forEach(show);
  };
  const loader = (pipeline: Pipeline, isTraining: boolean): (() => Promise<void>) => {
    const sampling = { batchSize: BATCH, seed: 0, shuffle: isTraining, dropLast: isTraining };
    const batches = new DataLoader({ dataset, pipeline, workers: 1, ...sampling });
    let epoch = 0;
    return async () => {
      for await (const batch of batches.epoch(epoch++)) batch.release();
    };
  };
  return {
    decode: async () => {
      for (const bytes of files) await decodeBytes(bytes, 'photo');
    },
    crop: each(trainingPipeline(plain)),
    augment: each(trainingPipeline({ imageSize: SIZE, erasing: null })),
    training: loader(trainingPipeline({ imageSize: SIZE }), true),
    evaluation: loader(evaluationPipeline({ imageSize: SIZE }), false),
  };
}

/** timm's parts, in a process that is asked for them. */
async function timmParts(python: string, folder: string, count: number) {
  const script = fileURLToPath(new URL('timm_parts.py', import.meta.url));
  const child = spawn(python, [script, folder, String(count)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const line = await lines.next();
    if (line.done) throw new Error(`${python} ended; it needs torch, torchvision, timm and Pillow`);
    return line.value;
  };
  await next();
  return {
    time: async (part: Part): Promise<number> => {
      child.stdin.write(`${part}\n`);
      return Number(await next());
    },
    end: () => void child.stdin.end(),
  };
}

export async function benchData(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { python: { type: 'string' }, images: { type: 'string' }, rounds: { type: 'string' } },
  });
  const folder = positionals[0];
  if (!folder || !existsSync(folder)) throw new Error('usage: npm run bench -- --data FOLDER [--python PYTHON]');
  const { dataset: all } = await openPart(folder, undefined);
  const count = Math.min(Number(values.images ?? 300), all.length);
  const dataset = new SubsetDataset(
    all,
    Uint32Array.from({ length: count }, (_, i) => Math.floor((i * all.length) / count)),
  );
  const ours = await ourParts(dataset);
  const timm = values.python === undefined ? null : await timmParts(values.python, folder, count);
  const times = Object.fromEntries(partNames.map((part) => [part, { ours: [] as number[], timm: [] as number[] }]));
  const rounds = Number(values.rounds ?? 5);
  for (let round = -1; round < rounds; round++) {
    for (const part of partNames) {
      const own = (await cpuTime(ours[part])) / count;
      const other = timm ? await timm.time(part) : NaN;
      if (round < 0) continue; // the first round compiles, starts threads and fills caches
      times[part].ours.push(own);
      times[part].timm.push(other);
    }
  }
  timm?.end();
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  write(`CPU time in ms an image: medians of ${rounds} rounds over ${count} photos, ${SIZE} px`);
  for (const part of partNames) {
    const [own, other] = [median(times[part].ours), median(times[part].timm)];
    const beside = timm ? `  timm ${other.toFixed(2)}  ratio ${(own / other).toFixed(2)}` : '';
    write(`${parts[part].padEnd(34)} ${own.toFixed(2)}${beside}  ${Math.round(1000 / own)} images/s a core`);
  }
  process.exit(0);
}
