/** CIFAR-10 and CIFAR-100 folders in the binary layout of their authors, and the sample that ships. Node only. */
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import { cifar10, cifar100, cifar10Classes, parseCifar, parseClassNames } from '../cifar.ts';
import type { CifarKind } from '../cifar.ts';
import type { Dataset } from '../dataset.ts';
import { assetPath } from './assets.ts';

export interface DatasetPair {
  train: Dataset;
  val: Dataset;
}

/** The class-balanced part of CIFAR-10 that ships with the package: 2,400 train and 500 held-out images. */
export const cifar10SampleFolder = (): string => assetPath('cifar10');

/** Which CIFAR a folder holds, by its file names; undefined if neither. */
export function cifarKindOf(folder: string): CifarKind | undefined {
  if (existsSync(join(folder, 'data_batch_1.bin'))) return cifar10;
  if (existsSync(join(folder, 'train.bin'))) return cifar100;
  return undefined;
}

/**
 * Reads `data_batch_*.bin` and `test_batch.bin` (CIFAR-10) or `train.bin` and `test.bin` (CIFAR-100), of any number of
 * records. Class names come from `batches.meta.txt` or `fine_label_names.txt`; for CIFAR-10 they are known anyway.
 */
export async function openCifar(folder: string): Promise<DatasetPair> {
  const kind = cifarKindOf(folder);
  if (!kind) {
    throw new DeitError('bad-data', 'This folder holds no CIFAR binary files.', {
      where: folder,
      expected: 'data_batch_1.bin ... and test_batch.bin (CIFAR-10), or train.bin and test.bin (CIFAR-100)',
      fix: 'Run `deit data cifar10`, or name the folder that holds the .bin files.',
    });
  }
  const isTen = kind === cifar10;
  const trainNames = isTen
    ? (await readdir(folder)).filter((name) => /^data_batch_\d+\.bin$/.test(name)).sort(byBatchNumber)
    : ['train.bin'];
  const testNames = [isTen ? 'test_batch.bin' : 'test.bin'];
  const classes = await readClasses(folder, kind);
  const [train, test] = await Promise.all([readFiles(folder, trainNames), readFiles(folder, testNames)]);
  return { train: parseCifar(kind, train, classes, 'train'), val: parseCifar(kind, test, classes, 'val') };
}

const byBatchNumber = (a: string, b: string): number => parseInt(a.slice(11), 10) - parseInt(b.slice(11), 10);

async function readClasses(folder: string, kind: CifarKind): Promise<readonly string[]> {
  const file = join(folder, kind === cifar10 ? 'batches.meta.txt' : 'fine_label_names.txt');
  if (kind === cifar10 && !existsSync(file)) return cifar10Classes;
  const names = parseClassNames((await readBytes(file)).toString('utf8'));
  if (names.length === kind.classCount) return names;
  throw new DeitError('file-corrupt', `This list does not name the classes of ${kind.name}.`, {
    where: file,
    expected: `${kind.classCount} names, one a line`,
    found: `${names.length} names`,
    fix: 'Restore the list that belongs to the set.',
  });
}

const readFiles = (folder: string, names: string[]): Promise<{ name: string; bytes: Uint8Array }[]> =>
  Promise.all(names.map(async (name) => ({ name: join(folder, name), bytes: await readBytes(join(folder, name)) })));

async function readBytes(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new DeitError('file-unreadable', 'A file of the data set cannot be read.', {
      where: file,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'Check that the file exists and may be read.',
      cause,
    });
  }
}
