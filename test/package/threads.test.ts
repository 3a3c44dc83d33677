import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, it } from 'vitest';

/*
 * A process that ends while one of its threads loads Dawn is aborted by Dawn, whatever its exit code was to be: seen of
 * ranks, whose thread watches the launcher.
 */

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Programs that `startThread` is told to start, by the calls in the sources. */
const programs = readdirSync(join(root, 'deit'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .flatMap((file) => {
    const calls = readFileSync(join(root, 'deit', file), 'utf8').matchAll(/startThread\(import\.meta\.url, '([^']+)'/g);
    return [...calls].map(([, name]) => join('deit', file, '..', `${name}.ts`));
  });

it('there are threads', () => expect(programs.length).toBeGreaterThanOrEqual(2));

it.each(programs)('%s loads no WebGPU', async (program) => {
  const { metafile } = await build({
    entryPoints: [join(root, program)],
    absWorkingDir: root,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    metafile: true,
    write: false,
  });
  const [{ imports }] = Object.values(metafile.outputs);
  expect(imports.map(({ path }) => path)).not.toContain('webgpu');
});
