/** What a training sees of its data, as text: to know later whether the data is still the same. Node only. */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { Dataset } from '../dataset.ts';

/** The parts of data that a training uses. */
export type ListedPart = 'train' | 'val';

/** A line of a listing, as JSON. */
export type ListedLine =
  | readonly ['classes', ...names: string[]]
  /** An image in a file of its own; without a size it cannot be found. */
  | readonly [part: ListedPart, label: number, bytes: number | null, name: string]
  /** Images that are all in memory: SHA-256 of their labels and pixels. */
  | readonly [part: ListedPart, images: number, sha256: string];

/** Lines that are made at a time; between them others have their turn. */
const AT_ONCE = 4096;

/**
 * Lists classes and images in their order, some lines at a time. Names are relative to the data set, so that a set has the
 * same listing wherever it lies. Contents of files are not read, their sizes are: a million take some seconds.
 */
export async function* listData(data: { readonly train: Dataset; readonly val: Dataset }): AsyncGenerator<string> {
  yield lineOf(['classes', ...data.train.classes]);
  for (const part of ['train', 'val'] as const) {
    const dataset = data[part];
    if (!dataset.path || !dataset.relativePath) {
      yield lineOf([part, dataset.length, await contentSum(dataset)]);
      continue;
    }
    for (let from = 0; from < dataset.length; from += AT_ONCE) {
      const to = Math.min(dataset.length, from + AT_ONCE);
      let lines = '';
      for (let i = from; i < to; i++) {
        lines += lineOf([
          part,
          dataset.label(i),
          dataset.range?.(i).bytes ?? sizeOf(dataset.path(i)),
          dataset.relativePath(i),
        ]);
      }
      yield lines;
      await setImmediate();
    }
  }
}

const lineOf = (line: ListedLine): string => `${JSON.stringify(line)}\n`;

/** Synchronously: a million promises cost five times as much as the calls. */
function sizeOf(path: string): number | null {
  try {
    return statSync(path, { throwIfNoEntry: false })?.size ?? null;
  } catch {
    return null;
  }
}

async function contentSum(dataset: Dataset): Promise<string> {
  const hash = createHash('sha256');
  for (let i = 0; i < dataset.length; i++) {
    const { width, height, data } = await dataset.image(i);
    hash.update(Uint32Array.of(dataset.label(i), width, height)).update(data);
  }
  return hash.digest('hex');
}
