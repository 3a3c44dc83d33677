/**
 * Mutation testing: makes one small change after another to the sources, in a copy, and runs the nearest tests on each; a change
 * that no test notices is told.
 *
 *     npm run mutate -- [--in kernels,nn] [--count 20] [--seed 1] [--slice 1/4] [--operator WGSL] [--list]
 *     npm run mutate -- --known
 *
 * The seed draws the same mutations each time: `--slice i/n` takes every n-th of them, so that slices make up the whole. Results
 * are added to bench/results/mutation.json. Exit code 0, or 1 where a mutation survived.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { Command, InvalidArgumentError } from 'commander';
import { PhiloxStream, Purpose } from '../../engine/index.ts';
import { KNOWN } from './known.ts';
import { applied, described } from './mutation.ts';
import type { Mutation } from './mutation.ts';
import { nearestTests } from './nearest-tests.ts';
import { addResult, readResults, summary } from './results.ts';
import { keysOf, mutationsOf } from './typescript.ts';
import { WorkingCopy } from './working-copy.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = ['kernels', 'engine', 'nn', 'deit'];
/** Declarations, what only tests use, and what only a browser runs. */
const NOT_MUTATED = /\.d\.ts$|\/reference(-math)?\.ts$|^deit\/(browser|examples|data\/wasm)\//;

const tracked = (): string[] =>
  execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
    .trim()
    .split('\n');

/** `count` mutations in an order that the seed draws: folders in turn, then an operator, then a place. */
function sample(all: readonly Mutation[], folders: readonly string[], count: number, seed: number): Mutation[] {
  const draws = new PhiloxStream(seed, Purpose.test);
  const pools = folders.map((folder) => {
    const byOperator = new Map<string, Mutation[]>();
    for (const mutation of all.filter(({ file }) => file.startsWith(`${folder}/`))) {
      byOperator.set(mutation.operator, [...(byOperator.get(mutation.operator) ?? []), mutation]);
    }
    return byOperator;
  });
  const drawn: Mutation[] = [];
  while (drawn.length < count && pools.some((pool) => pool.size > 0)) {
    for (const pool of pools) {
      if (pool.size === 0 || drawn.length === count) continue;
      const [operator, places] = [...pool][draws.integer(pool.size)];
      drawn.push(...places.splice(draws.integer(places.length), 1));
      if (places.length === 0) pool.delete(operator);
    }
  }
  return drawn;
}

const wholeNumber = (text: string): number => {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It is a whole number.');
  return Number(text);
};
const sliceOf = (text: string): [number, number] => {
  const [, i, n] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).map(Number);
  if (!(i >= 1 && i <= n)) throw new InvalidArgumentError('It is i/n, such as 1/4.');
  return [i, n];
};
const foldersOf = (text: string): string[] => {
  const folders = text.split(',');
  const unknown = folders.find((folder) => !FOLDERS.includes(folder.split('/')[0]));
  if (unknown !== undefined) throw new InvalidArgumentError(`"${unknown}" is in none of ${FOLDERS.join(', ')}.`);
  return folders;
};

/** Seconds of each test file, from what Vitest has printed. */
function durationsIn(log: string): Map<string, number> {
  const lines = stripVTControlCharacters(readFileSync(log, 'utf8')).matchAll(/(test\/\S+\.test\.ts) \(.*\) +(\d+)ms/g);
  return new Map([...lines].map(([, file, milliseconds]) => [file, Number(milliseconds) / 1000]));
}

interface Options {
  readonly in: string[];
  readonly count: number;
  readonly seed: number;
  readonly slice: [number, number];
  readonly operator: string;
  readonly seconds: number;
  readonly list: boolean;
  readonly log: string | undefined;
  readonly known: boolean;
}

/** Tries the changes that were not noticed once, each on the one test that notices it now. */
async function tryKnown(files: readonly string[], seconds: number): Promise<void> {
  using copy = new WorkingCopy(root, files);
  for (const { name, file, from, to, test, by } of KNOWN) {
    const parts = readFileSync(join(root, file), 'utf8').split(from);
    if (parts.length !== 2) throw new Error(`"${from}" is in ${file} ${parts.length - 1} times, not once`);
    const { outcome } = await copy.try(file, parts.join(to), [test], seconds, by);
    console.log(`${outcome.padEnd(9)} ${name} (${test})`);
    if (outcome !== 'noticed') process.exitCode = 1;
  }
}

async function mutate(options: Options): Promise<void> {
  const files = tracked();
  if (options.known) return tryKnown(files, options.seconds);
  const sources = files.filter((file) => /^(kernels|engine|nn|deit)\/.*\.ts$/.test(file) && !NOT_MUTATED.test(file));
  const texts = new Map(sources.map((file) => [file, readFileSync(join(root, file), 'utf8')]));
  const keys = keysOf(texts.values());
  const all = sources
    .filter((file) => options.in.some((folder) => file.startsWith(`${folder}/`)))
    .flatMap((file) => mutationsOf(file, texts.get(file)!, keys))
    .filter(({ operator }) => operator.includes(options.operator));
  const testsOf = nearestTests(
    root,
    files.filter((file) => /^test\/.*\.test\.ts$/.test(file)),
  );
  const durations = options.log === undefined ? new Map<string, number>() : durationsIn(options.log);
  const secondsOf = ({ file }: Mutation): number =>
    testsOf(file).reduce((sum, test) => sum + 2 + (durations.get(test) ?? 0), 0);
  const [slice, slices] = options.slice;
  const chosen = sample(all, options.in, options.count, options.seed)
    .filter((_, i) => i % slices === slice - 1)
    .map((mutation) => ({ mutation, seconds: secondsOf(mutation) }))
    .sort((a, b) => a.seconds - b.seconds)
    .map(({ mutation }) => mutation);
  console.log(`${all.length} mutations in ${options.in.join(', ')}; ${chosen.length} of them here`);
  if (options.list) {
    for (const own of chosen) console.log(described(texts.get(own.file)!, own), '|', testsOf(own.file).join(' '));
    return;
  }
  using copy = new WorkingCopy(root, files, durations);
  const known = new Set(readResults(root).map(({ change }) => change));
  for (const mutation of chosen) {
    const text = texts.get(mutation.file)!;
    const tests = testsOf(mutation.file);
    const change = described(text, mutation);
    if (known.has(change)) continue;
    const { seconds, ...result } = await copy.try(mutation.file, applied(text, mutation), tests, options.seconds);
    console.log(`${result.outcome.padEnd(9)} ${seconds.toFixed(0).padStart(4)} s  ${change}`);
    addResult(root, { folder: mutation.file.split('/')[0], change, ...result, tests });
    if (result.outcome === 'survived') process.exitCode = 1;
  }
  console.log(summary(readResults(root)));
}

await new Command('mutate')
  .option('--in <folders>', 'folders of the sources, by commas', foldersOf, FOLDERS)
  .option('--count <n>', 'how many mutations the seed draws, over all slices', wholeNumber, 20)
  .option('--seed <n>', 'seed of the sample', wholeNumber, 1)
  .option('--slice <i/n>', 'the i-th of n slices of the sample', sliceOf, [1, 1] as [number, number])
  .option('--operator <text>', 'only operators whose names contain this', '')
  .option('--seconds <n>', 'after which the tests of a mutation are ended: it counts as noticed', wholeNumber, 300)
  .option('--list', 'only names the mutations and their tests', false)
  .option('--log <file>', 'output of a whole `npm test`, by whose times the quickest mutations come first')
  .option('--known', 'only the changes of known.ts, each on the test that must notice it', false)
  .action(mutate)
  .parseAsync();
