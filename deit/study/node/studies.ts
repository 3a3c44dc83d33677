/** Studies by name and by file. Node only. */
import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DeitError, nearestName, packageRoot } from '../../../engine/node.ts';
import { parseStudy } from '../definition.ts';
import type { Study } from '../definition.ts';

const folder = (): string => join(packageRoot(), 'deit', 'study');

/** Names of the studies that ship. */
export const shippedStudies = (): string[] =>
  readdirSync(folder())
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort();

/** A study that ships, or a file of the same form. Throws `unknown-name`, `file-corrupt` or `bad-config`. */
export async function openStudy(nameOrFile: string): Promise<{ name: string; study: Study }> {
  const shipped = shippedStudies();
  const file = shipped.includes(nameOrFile) ? join(folder(), `${nameOrFile}.json`) : nameOrFile;
  if (!existsSync(file)) {
    const near = nearestName(nameOrFile, shipped);
    throw new DeitError('unknown-name', 'There is no study of this name, nor a file.', {
      found: nameOrFile,
      expected: `a file, or one of ${shipped.join(', ')}`,
      fix: near && `did you mean ${near}?`,
    });
  }
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new DeitError('file-unreadable', 'The study cannot be read.', { where: file, found: cause.message, cause });
  });
  return { name: basename(file).replace(/\.jsonc?$/, ''), study: parseStudy(text, file) };
}
