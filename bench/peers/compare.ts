/**
 * Node only. `npm run bench -- --peers [libraries] [cases]`: this project and other libraries on the same adapter in one
 * run, each in processes of its own, with results checked against float64 before anything is timed. Both filters are
 * regular expressions. A run without filters is written to bench/results/, with its chart.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { chart } from './chart.ts';
import { measureLibrary, measureYardstick, OWN, PEERS } from './libraries.ts';
import type { CaseResult, Library, LibraryRun } from './libraries.ts';
import { median, tables } from './results.ts';
import type { Comparison, LibraryResult } from './results.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const RESULTS = fileURLToPath(new URL('../results/', import.meta.url));

interface Manifest {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}
const manifest = (path: string): Manifest => JSON.parse(readFileSync(path, 'utf8')) as Manifest;

export async function comparePeers(args: readonly string[]): Promise<void> {
  const [libraryFilter = '', caseFilter = ''] = args.filter((arg) => !arg.startsWith('--'));
  const chosen = PEERS.filter(({ label }) => new RegExp(libraryFilter, 'i').test(label));
  install();
  if (!args.includes('--no-build')) npm(ROOT, ['run', 'build']);

  // The machine's speed drifts: this project is measured before, amid and after the others.
  const middle = Math.ceil(chosen.length / 2);
  const order = [OWN, ...chosen.slice(0, middle), OWN, ...chosen.slice(middle), ...(chosen.length > 1 ? [OWN] : [])];
  const runs = new Map<Library, LibraryRun[]>([[OWN, []]]);
  const yardstick: number[] = [];
  const start = performance.now();
  for (const library of order) {
    const rate = await measureYardstick();
    yardstick.push(Number(rate.toFixed(2)));
    process.stderr.write(`${library.label} (yardstick ${rate.toFixed(1)} GFLOP/s)\n`);
    const run = await measureLibrary(library, caseFilter);
    runs.set(library, [...(runs.get(library) ?? []), run]);
  }
  const comparison: Comparison = {
    date: new Date().toISOString().slice(0, 10),
    adapter: [...runs.values()].flat().find(({ adapter }) => adapter)?.adapter ?? 'unknown',
    machine: `${cpus().length} cores of ${cpus()[0].model.trim()}`,
    node: process.versions.node,
    dawn: `webgpu ${manifest(`${ROOT}node_modules/webgpu/package.json`).version}`,
    yardstick,
    libraries: [...runs].map(([library, own]) => summarize(library, own)),
  };
  console.log(tables(comparison));
  console.log(`\n${((performance.now() - start) / 60_000).toFixed(1)} minutes`);
  if (libraryFilter || caseFilter) return;
  mkdirSync(RESULTS, { recursive: true });
  const file = `${RESULTS}peers-${nameOf(comparison.adapter)}.json`;
  writeFileSync(file, `${JSON.stringify(comparison, rounded, 1)}\n`);
  writeFileSync(`${RESULTS}peers.svg`, chart(comparison));
  console.log(`written to ${file} and ${RESULTS}peers.svg`);
}

/** `npm run bench -- --peers-tables FILE`: tables and chart of a comparison that was written before. */
export function showComparison(file: string): void {
  const comparison = JSON.parse(readFileSync(file, 'utf8')) as Comparison;
  console.log(tables(comparison));
  writeFileSync(`${RESULTS}peers.svg`, chart(comparison));
}

const nameOf = (adapter: string): string =>
  /llvmpipe/i.test(adapter)
    ? 'lavapipe'
    : adapter
        .toLowerCase()
        .split(/[^a-z0-9]+/)
        .slice(0, 4)
        .join('-');

const rounded = (_key: string, value: unknown): unknown =>
  typeof value === 'number' ? Number(value.toPrecision(5)) : value;

/** Installs the peers into a folder of their own, unless they are there in the very versions that are asked for. */
function install(): void {
  const { dependencies } = manifest(`${HERE}package.json`);
  const isThere = Object.entries(dependencies).every(([name, version]) => {
    try {
      return manifest(`${HERE}node_modules/${name}/package.json`).version === version;
    } catch {
      return false;
    }
  });
  if (!isThere) npm(HERE, ['install', '--no-audit', '--no-fund']);
}

function npm(cwd: string, args: readonly string[]): void {
  process.stderr.write(`npm ${args.join(' ')}\n`);
  const { status } = spawnSync('npm', args, {
    cwd,
    // onnxruntime-node otherwise downloads CUDA libraries.
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: process.platform === 'win32',
  });
  if (status !== 0) throw new Error(`npm ${args.join(' ')} failed in ${cwd}; the lines above say why`);
}

/** Medians over processes. */
function summarize({ label, kind }: Library, runs: readonly LibraryRun[]): LibraryResult {
  const names = [...new Set(runs.flatMap(({ cases }) => Object.keys(cases)))];
  const cases = names.map((name): [string, CaseResult] => {
    const found = runs.flatMap(({ cases: own }) => own[name] ?? []);
    const over = (key: 'ms' | 'firstMs' | 'rssMB'): number => median(found.map((one) => one[key]));
    return [
      name,
      {
        ...found[0],
        ms: over('ms'),
        min: Math.min(...found.map(({ min }) => min)),
        max: Math.max(...found.map(({ max }) => max)),
        samples: found.reduce((sum, { samples }) => sum + samples, 0),
        isNoisy: found.every(({ isNoisy }) => isNoisy),
        firstMs: over('firstMs'),
        rssMB: over('rssMB'),
        gflops: found[0].gflops === null ? null : (found[0].gflops * found[0].ms) / over('ms'),
      },
    ];
  });
  return {
    label,
    kind,
    version: runs[0].version,
    processes: runs.length,
    cases: Object.fromEntries(cases),
    failures: Object.assign({}, ...runs.map(({ failures }) => failures)) as Record<string, string>,
  };
}
