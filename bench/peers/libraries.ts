/** Node only. The libraries of the comparison, and how one is measured: in processes of its own. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Library {
  readonly label: string;
  /** What the ratios are about, those that run on the same WebGPU adapter, or what people use without one. */
  readonly kind: 'own' | 'webgpu' | 'cpu';
  readonly file: string;
  readonly variant: string;
  readonly nodeFlags?: readonly string[];
}

export const OWN: Library = { label: 'deit-webgpu', kind: 'own', file: 'adapter.mjs', variant: '-' };
const YARDSTICK: Library = { label: 'yardstick', kind: 'webgpu', file: 'hand.mjs', variant: '-' };

/** Node 20 otherwise spends about 25 s on optimising the WebAssembly of onnxruntime before the first result. */
const BASELINE_WASM = ['--liftoff-only'];

export const PEERS: readonly Library[] = [
  { label: 'jax-js', kind: 'webgpu', file: 'jax.mjs', variant: 'webgpu' },
  { label: 'tfjs', kind: 'webgpu', file: 'tfjs.mjs', variant: 'webgpu' },
  { label: 'ORT web', kind: 'webgpu', file: 'ort.mjs', variant: 'web-webgpu', nodeFlags: BASELINE_WASM },
  { label: 'ORT web jsep', kind: 'webgpu', file: 'ort.mjs', variant: 'web-jsep', nodeFlags: BASELINE_WASM },
  { label: 'jax-js WASM', kind: 'cpu', file: 'jax.mjs', variant: 'wasm' },
  { label: 'ORT web WASM', kind: 'cpu', file: 'ort.mjs', variant: 'web-wasm' },
  { label: 'ORT native CPU', kind: 'cpu', file: 'ort.mjs', variant: 'node-cpu' },
];

/** One case of one library; times in ms, from the call to a scalar of the result on the host. */
export interface CaseResult {
  readonly ms: number;
  readonly min: number;
  readonly max: number;
  readonly samples: number;
  /** Other processes were busy during too many samples. */
  readonly isNoisy: boolean;
  /** Upload, compilation and the first result; the driver's cache of compiled kernels was empty when the process began. */
  readonly firstMs: number;
  /** Largest error over the largest value, against float64. */
  readonly error: number;
  readonly dispatches: number | null;
  readonly submits: number | null;
  readonly gflops: number | null;
  readonly losses?: readonly number[];
  /** The most bytes in GPU buffers so far in this process. */
  readonly gpuMiB: number | null;
  readonly rssMB: number;
}

export interface LibraryRun {
  version: string | null;
  adapter: string | null;
  cases: Record<string, CaseResult>;
  failures: Record<string, string>;
}

interface Line extends CaseResult {
  readonly case?: string;
  readonly version: string | null;
  readonly adapter: string;
  readonly missing?: boolean;
  readonly failure?: string;
}

/** Cases that are compared with WebAssembly and native code alone: with WebGPU libraries on a processor they take minutes. */
const PROCESSOR_CASES = /^(matmul 1023|DeiT-Ti 384|DeiT-S)/;

/** The two largest cases run alone, so that their memory and their first run are theirs alone. */
const PROCESSES = [/^(?!DeiT-Ti fwd b8|train step)/, /^DeiT-Ti fwd b8/, /^train step/];

/** Measures the cases that match `filter`. Never throws: what went wrong is among the failures. */
export async function measureLibrary(library: Library, filter: string): Promise<LibraryRun> {
  const run: LibraryRun = { version: null, adapter: null, cases: {}, failures: {} };
  const allowed = library.kind === 'webgpu' ? `(?!${PROCESSOR_CASES.source})` : '';
  for (const group of PROCESSES) await runProcess(library, `${allowed}(?=${group.source}).*(?:${filter})`, run);
  return run;
}

/** Rate of a kernel written by hand, which tells how fast the machine is at the moment. */
export async function measureYardstick(): Promise<number> {
  const run: LibraryRun = { version: null, adapter: null, cases: {}, failures: {} };
  await runProcess(YARDSTICK, '^matmul 1024', run);
  return run.cases['matmul 1024^3']?.gflops ?? NaN;
}

function runProcess(library: Library, filter: string, run: LibraryRun): Promise<void> {
  const child = fileURLToPath(new URL('child.mjs', import.meta.url));
  const file = new URL(library.file, import.meta.url).href;
  const cache = mkdtempSync(join(tmpdir(), 'shader-cache-'));
  const running = spawn(process.execPath, [...(library.nodeFlags ?? []), child, file, library.variant, filter], {
    // The first result of a user's first run: nothing compiled before.
    env: { ...process.env, MESA_SHADER_CACHE_DIR: cache },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  running.stdout.on('data', (data: Buffer) => {
    output += data.toString();
    const lines = output.split('\n');
    output = lines.pop()!;
    for (const line of lines) if (line.startsWith('@')) take(JSON.parse(line.slice(1)) as Line, run);
  });
  running.stderr.on('data', (data: Buffer) => (errors = (errors + data.toString()).slice(-2000)));
  return new Promise((resolve) => {
    running.on('close', (code, signal) => {
      rmSync(cache, { recursive: true, force: true });
      if (code !== 0) {
        const last = errors
          .split('\n')
          .filter((line) => line && !line.startsWith('Warning: maxDynamic'))
          .slice(-2);
        run.failures[`process ${filter}`] = `ended by ${signal ?? `code ${code}`}: ${last.join(' ')}`;
      }
      resolve();
    });
  });
}

function take(line: Line, run: LibraryRun): void {
  const { case: name, missing, failure, version, adapter, ...result } = line;
  if (name === undefined) Object.assign(run, { version, adapter });
  else if (failure) {
    run.failures[name] = failure;
    process.stderr.write(`  ${name}: ${failure}\n`);
  } else if (!missing) {
    run.cases[name] = result;
    process.stderr.write(`  ${name}: ${result.ms.toFixed(2)} ms${result.isNoisy ? ' (noisy)' : ''}\n`);
  }
}
