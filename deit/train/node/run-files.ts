/** Node only. The JSON files of run folders. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import { configSchema, parseRunFile } from '../run-schemas.ts';
import type { RunConfig, Schema } from '../run-schemas.ts';

/** What a run was begun with. Throws where there is no run. */
export async function readConfig(folder: string): Promise<RunConfig> {
  const config = await readRunFile(folder, 'config.json', configSchema);
  if (config) return config;
  throw new DeitError('file-unreadable', 'There is no training run in this folder.', {
    where: folder,
    expected: 'config.json, as `deit train` writes it',
  });
}

/** A file of a run; null where it is not there. Throws `file-unreadable` or `file-corrupt`. */
export async function readRunFile<Content>(
  folder: string,
  name: string,
  schema: Schema<Content>,
): Promise<Content | null> {
  const path = join(folder, name);
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return null;
    throw new DeitError('file-unreadable', 'A file of the run cannot be read.', {
      where: path,
      found: cause.message,
      cause,
    });
  });
  return text === null ? null : parseRunFile(text, path, schema);
}
