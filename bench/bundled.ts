/** Node only. Programs of this repository as bundles: they start in a fifth of the time that Node's loader for TypeScript takes. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const made = new Map<string, Promise<string>>();

/** Path of the bundle of a program of the sources, such as `deit/cli/main.ts`; made anew once in a process. */
export function bundled(program: string): Promise<string> {
  const path = made.get(program) ?? make(program);
  made.set(program, path);
  return path;
}

async function make(program: string): Promise<string> {
  // Inside the repository, so that packages are found from there.
  const outdir = join(root, 'node_modules/.cache/deit-webgpu', program.replace(/\.ts$/, ''));
  const { outputFiles } = await build({
    absWorkingDir: root,
    // Threads have their programs beside the code that starts them.
    entryPoints: [
      { in: program, out: 'program' },
      { in: 'deit/data/node/worker.ts', out: 'worker' },
      { in: 'deit/parallel/node/launcher-watch.ts', out: 'launcher-watch' },
    ],
    outdir,
    write: false,
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'warning',
  });
  mkdirSync(outdir, { recursive: true });
  for (const { path, contents } of outputFiles) {
    // A process that is reading the same file is not disturbed; the names of changed chunks are new.
    if (!existsSync(path) || !readFileSync(path).equals(contents)) writeFileSync(path, contents);
  }
  return join(outdir, 'program.js');
}
