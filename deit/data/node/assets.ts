/** Finds the files that ship with the package, from a clone (`deit/...`) as from an installation (`dist/deit/...`). Node only. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DeitError } from '../../../engine/index.ts';

const packageName = 'deit-webgpu';

/** Folder of this package: the nearest one above this file whose package.json bears the package's name. */
export function packageRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && isOurs(manifest)) return folder;
    if (dirname(folder) === folder) {
      throw new DeitError('file-unreadable', `The folder of the package ${packageName} was not found.`, {
        where: start,
        expected: `a package.json named ${packageName} above this file`,
        fix: 'Install the package again; if you bundle it for Node, keep its package.json and deit/assets.',
      });
    }
  }
}

function isOurs(manifest: string): boolean {
  try {
    const parsed: unknown = JSON.parse(readFileSync(manifest, 'utf8'));
    return typeof parsed === 'object' && parsed !== null && 'name' in parsed && parsed.name === packageName;
  } catch {
    return false; // an unreadable package.json on the way up is not ours
  }
}

/** Path of a shipped file or folder under `deit/assets`; throws if it is not there. */
export function assetPath(...parts: string[]): string {
  const path = join(packageRoot(), 'deit', 'assets', ...parts);
  if (existsSync(path)) return path;
  throw new DeitError('file-unreadable', 'A file that ships with the package is missing.', {
    where: path,
    fix: 'Install the package again, or restore deit/assets in your clone.',
  });
}
