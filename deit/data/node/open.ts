/** Opens whatever holds labelled images: the shipped sample, CIFAR folders, image folders, list files. Node only. */
import { stat } from 'node:fs/promises';
import { DeitError } from '../../../engine/index.ts';
import { cifar10SampleFolder, cifarKindOf, openCifar } from './cifar-files.ts';
import type { DatasetPair } from './cifar-files.ts';
import { openImageFolder } from './folder.ts';
import type { FolderOptions } from './folder.ts';
import { openListFile } from './list-file.ts';

/** Name of the part of CIFAR-10 that ships with the package, where a path is asked for. */
export const sampleName = 'cifar10-sample';

export interface OpenDataOptions extends FolderOptions {
  /** For list files: a second list with the held-out images, and the folder that paths are relative to. */
  valFile?: string;
  root?: string;
}

export interface OpenedData extends DatasetPair {
  kind: 'sample' | 'cifar' | 'folder' | 'list';
  /** Files in class folders that are not images by their names. */
  ignored: string[];
}

/** `source` is `cifar10-sample`, a CIFAR folder, a folder of class folders (with or without train/ and val/), or a list file. */
export async function openData(source: string, options: OpenDataOptions = {}): Promise<OpenedData> {
  if (source === sampleName) return { ...(await openCifar(cifar10SampleFolder())), kind: 'sample', ignored: [] };
  const info = await stat(source).catch(() => undefined);
  if (info?.isFile()) return { ...(await openListFile(source, options)), kind: 'list', ignored: [] };
  if (!info?.isDirectory()) {
    throw new DeitError('file-unreadable', 'There is no data set at this path.', {
      where: source,
      expected: `a folder of images by class, a CIFAR folder, a list file, or ${sampleName}`,
      fix: 'Check the path; `deit data cifar10` fetches CIFAR-10.',
    });
  }
  if (cifarKindOf(source)) return { ...(await openCifar(source)), kind: 'cifar', ignored: [] };
  return { ...(await openImageFolder(source, options)), kind: 'folder' };
}
