/** Node only. What drills share: recipes small enough for a software adapter, runs as child processes, comparisons. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DeitError, readSafetensorsFile } from '../../engine/node.ts';
import { PhiloxStream, Purpose } from '../../engine/index.ts';
import { bundled } from '../bundled.ts';

/** A drill returns one line of figures, or throws `Broken` if the promise did not hold. */
export type Drill = (options: DrillOptions) => Promise<string>;

export interface DrillOptions {
  /** How often, where a drill repeats something; null for the full number. */
  readonly count: number | null;
  readonly seed: number;
  /** An empty folder, removed afterwards. */
  readonly folder: string;
  readonly say: (line: string) => void;
}

/** The promise that the drill is about does not hold. */
export class Broken extends Error {}

export function expectThat(holds: boolean, promise: string): asserts holds {
  if (!holds) throw new Broken(promise);
}

/** Everything that a training step can have switched on, in a model of 68,000 weights. */
export const SMALL: Record<string, Record<string, unknown>> = {
  model: {
    name: 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=2 heads=3 num_classes=10',
    dropPath: 0.2,
  },
  data: { batchSize: 16, accumulate: 2, workers: 1 },
  augment: { policy: null, repeats: 1 },
  optim: { lr: 2e-3, scaleLr: false, ema: 0.9, clip: 1 },
  schedule: { per: 'step', warmupEpochs: 0.05 },
  run: { evaluateEvery: 0 },
};

/** Writes the small recipe with `changes` on top, and returns its path. */
export function smallRecipe(folder: string, changes: Record<string, Record<string, unknown>> = {}): string {
  const recipe = Object.fromEntries(
    Object.keys({ ...SMALL, ...changes }).map((section) => [section, { ...SMALL[section], ...changes[section] }]),
  );
  const path = join(folder, 'recipe.json');
  writeFileSync(path, JSON.stringify(recipe));
  return path;
}

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves when the output so far contains `text`; rejects if the process ends before. */
  readonly said: (text: string | RegExp) => Promise<void>;
}

/** Starts `deit <args>`. */
export async function startDeit(args: readonly string[], environment: Record<string, string> = {}): Promise<Running> {
  const child = spawn(process.execPath, [await bundled('deit/cli/main.ts'), ...args], {
    cwd: root,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const waiting = new Set<() => void>();
  const hear = (chunk: Buffer): void => {
    output += chunk.toString();
    for (const check of waiting) check();
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const finished = new Promise<Finished>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, output }));
  });
  const said = (text: string | RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (typeof text === 'string' ? !output.includes(text) : !text.test(output)) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
      void finished.then(() => reject(new Broken(`the run ended before it said ${String(text)}:\n${output}`)));
    });
  return { child, finished, said };
}

export async function runDeit(args: readonly string[], environment?: Record<string, string>): Promise<Finished> {
  const { finished } = await startDeit(args, environment);
  return finished;
}

/** Runs to the end, which has to be a good one. */
export async function runWell(args: readonly string[], environment?: Record<string, string>): Promise<string> {
  const { code, signal, output } = await runDeit(args, environment);
  expectThat(code === 0, `deit ${args.join(' ')} ended with ${signal ?? code}:\n${output}`);
  return output;
}

/** SHA-256 of a run's final weights. */
export function weightsOf(run: string): string {
  const path = join(run, 'student.safetensors');
  expectThat(existsSync(path), `${path} was not written`);
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Tensors that differ between two files, by name; the metadata, which holds a run's seconds, is left out. */
export async function differingTensors(a: string, b: string): Promise<string[]> {
  const [x, y] = [(await readSafetensorsFile(a)).tensors, (await readSafetensorsFile(b)).tensors];
  return [...new Set([...x.keys(), ...y.keys()])].filter((name) => {
    const [p, q] = [x.get(name)?.bytes, y.get(name)?.bytes];
    return !p || !q || Buffer.compare(Buffer.from(p), Buffer.from(q)) !== 0;
  });
}

/** The losses of a run, in order of the steps. JSON keeps every bit of a double. */
export const lossesOf = (run: string): number[] =>
  readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { loss?: number })
    .flatMap(({ loss }) => (loss === undefined ? [] : [loss]));

/** Draws of a drill: the same in every run with the same seed. */
export const drawsOf = (seed: number): PhiloxStream => new PhiloxStream(seed, Purpose.test);

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

export async function inFolder<Result>(work: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'deit-drill-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const messageOf = (error: unknown): string => {
  if (error instanceof DeitError || error instanceof Broken) return error.message;
  const { stack, cause } = error as Error;
  return cause instanceof Error ? `${stack}\ncaused by ${cause.stack}` : String(stack);
};
