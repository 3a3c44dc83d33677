/** Builds the page into dist/site, and with --serve shows it on localhost. Node only; not part of the package. */
import { cp, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { serveFolder } from './serve.ts';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');

/** Everything that the page needs, into a folder that any web server can show. */
export async function buildSite(folder = join(root, 'dist/site')): Promise<string> {
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
    sourcemap: true,
    format: 'esm',
    target: 'es2022',
    logLevel: 'warning',
  });
  const assets = join(root, 'deit/assets');
  await cp(join(here, 'index.html'), join(folder, 'index.html'));
  await cp(join(assets, 'imagenet-classes.txt'), join(folder, 'imagenet-classes.txt'));
  const model = 'deit_tiny_patch16_224';
  await cp(join(assets, model, 'model.safetensors'), join(folder, `${model}.safetensors`));
  await cp(join(assets, 'cifar10'), join(folder, 'cifar10'), { recursive: true });
  return folder;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = await buildSite();
  process.stdout.write(`built ${folder}\n`);
  if (process.argv.includes('--serve')) {
    const { url } = await serveFolder(folder, 8080);
    process.stdout.write(`${url}\n`);
  }
}
