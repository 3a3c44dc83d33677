/** Finds the files that ship with the package, from a clone (`deit/...`) as from an installation (`dist/deit/...`). Node only. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DeitError, packageRoot } from '../../../engine/node.ts';

/** Path of a shipped file or folder under `deit/assets`; throws if it is not there. */
export function assetPath(...parts: string[]): string {
  const path = join(packageRoot(), 'deit', 'assets', ...parts);
  if (existsSync(path)) return path;
  throw new DeitError('file-unreadable', 'A file that ships with the package is missing.', {
    where: path,
    fix: 'Install the package again, or restore deit/assets in your clone.',
  });
}
