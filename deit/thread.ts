/** Node only. Worker threads whose programs lie beside the code that starts them. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
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
  const program = fileURLToPath(new URL(`./${name}.ts`, beside));
  const path = bundled(program);
  // The bundle needs no flag of this process, such as those that load a loader for TypeScript.
  return path === null ? interpreted(program, options) : new Worker(path, { ...options, execArgv: [] });
}

const made = new Map<string, string | null>();

/** Path of the bundle of a program of the sources, made once in a process; null where the repository cannot be written to. */
function bundled(program: string): string | null {
  const path = made.has(program) ? made.get(program)! : bundle(program);
  made.set(program, path);
  return path;
}

function bundle(program: string): string | null {
  // Inside the repository, so that packages are found from there.
  const folder = join(packageRoot(), 'node_modules/.cache/deit-webgpu/threads');
  const path = join(folder, relative(packageRoot(), program).replaceAll(sep, '-').replace(/ts$/, 'js'));
  const unfinished = `${path}.${process.pid}`;
  // Not among the packages that are installed with this one, which has no sources.
  const { buildSync } = createRequire(import.meta.url)('esbuild') as typeof Esbuild;
  const { outputFiles } = buildSync({
    entryPoints: [program],
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'warning',
    write: false,
  });
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(unfinished, outputFiles[0].contents);
    // In one piece: another process may be reading it.
    renameSync(unfinished, path);
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
  return path;
}

/** The program itself, in a thread that first loads a loader for TypeScript. */
function interpreted(program: string, options: WorkerOptions): Worker {
  const loader = import.meta.resolve('tsx/esm/api');
  const code = `import { register } from ${JSON.stringify(loader)}; register(); await import(${JSON.stringify(pathToFileURL(program).href)});`;
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), options);
}
