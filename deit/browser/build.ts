/**
 * Builds the page: its bundle into dist/page, for `deit serve` and the package, and unless `--page` is given also with its assets
 * into dist/site, for any web server. Node only; not part of the package.
 */
import { cp, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { bundleFolder, pageAssets } from '../serve/page.ts';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');

/** The page and its scripts, without what it fetches of the package's assets. */
export async function buildPage(folder = bundleFolder()): Promise<string> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await build({
    absWorkingDir: root,
    entryPoints: [
      { in: join(here, 'main.ts'), out: 'main' },
      { in: join(here, 'page.css'), out: 'main' },
    ],
    outdir: folder,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    logLevel: 'warning',
  });
  for (const name of ['index.html', 'site.json']) await cp(join(here, name), join(folder, name));
  return folder;
}

/** Everything that the page needs, into a folder that any web server can show. */
export async function buildSite(folder = join(root, 'dist/site')): Promise<string> {
  await buildPage(folder);
  for (const [address, path] of await pageAssets()) await cp(path, join(folder, address));
  return folder;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(`built ${await buildPage()}\n`);
  if (!process.argv.includes('--page')) process.stdout.write(`built ${await buildSite()}\n`);
}
