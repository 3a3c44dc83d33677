/** Node only. Worker threads whose programs lie beside the code that starts them. */
import { mkdirSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';
import type * as Esbuild from 'esbuild';
import { packageRoot } from '../engine/node.ts';

/**
 * Starts the program `name`, without its extension, that lies beside the module at `beside` (its `import.meta.url`). From TypeScript
 * sources it is bundled first: a loader for TypeScript in each thread would take ten times as long to start as the program.
 */
export function startThread(beside: string, name: string, options: WorkerOptions = {}): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL(`./${name}.js`, beside), options);
  // The bundle needs no flag of this process, such as those that load a loader for TypeScript.
  return new Worker(bundled(fileURLToPath(new URL(`./${name}.ts`, beside))), { ...options, execArgv: [] });
}

const made = new Map<string, string>();

/** Path of the bundle of a program of the sources, made once in a process. */
function bundled(program: string): string {
  const path = made.get(program) ?? bundle(program);
  made.set(program, path);
  return path;
}

function bundle(program: string): string {
  // Inside the repository, so that packages are found from there.
  const folder = join(packageRoot(), 'node_modules/.cache/deit-webgpu/threads');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, relative(packageRoot(), program).replaceAll(sep, '-').replace(/ts$/, 'js'));
  const unfinished = `${path}.${process.pid}`;
  // Not among the packages that are installed with this one, which has no sources.
  const { buildSync } = createRequire(import.meta.url)('esbuild') as typeof Esbuild;
  buildSync({
    entryPoints: [program],
    outfile: unfinished,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'warning',
  });
  // In one piece: another process may be reading it.
  renameSync(unfinished, path);
  return path;
}
