/** Node only. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DeitError } from '../../kernels/lib/errors.ts';

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

/** Version of the installed package. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return version;
}

/** The package's folder for what can be made again, in the user's cache folder; made where there is none. */
export function cacheFolder(): string {
  const root = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), packageName);
  try {
    mkdirSync(root, { recursive: true });
    return root;
  } catch {
    const fallback = join(tmpdir(), packageName);
    mkdirSync(fallback, { recursive: true });
    return fallback;
  }
}
