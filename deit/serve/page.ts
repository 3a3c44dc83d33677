/** The files of the page that classifies and trains in the browser: its bundle, and what it fetches of the package's assets. Node only. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../engine/node.ts';
import { assetPath } from '../data/node/index.ts';
import { siteOf } from './site.ts';
import type { Site } from './site.ts';

/** Where `npm run build` and `npm run site` put the bundle. */
export const bundleFolder = (): string => join(packageRoot(), 'dist', 'page');

/** The page needs these of the package's assets, at these addresses. */
export async function pageAssets(): Promise<Map<string, string>> {
  const files = new Map([
    ['/imagenet-classes.txt', assetPath('imagenet-classes.txt')],
    ['/deit_tiny_patch16_224.safetensors', assetPath('deit_tiny_patch16_224', 'model.safetensors')],
    ['/sample.jpg', assetPath('photo', 'chelsea.jpg')],
  ]);
  for (const name of await readdir(assetPath('cifar10'))) files.set(`/cifar10/${name}`, assetPath('cifar10', name));
  return files;
}

/** The page; null where it has not been built, in a clone. */
export async function pageSite(folder = bundleFolder()): Promise<Site | null> {
  if (!existsSync(join(folder, 'index.html'))) return null;
  return new Map([...(await pageAssets()), ...(await siteOf(folder))]);
}
