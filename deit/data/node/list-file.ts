/**
 * List files: one image a line, `path<TAB>label`; paths are relative to the folder of the list (or to `root`) and must stay
 * inside it. Blank lines and lines that begin with `#` are passed over. Node only.
 */
import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import type { DatasetPair } from './cifar-files.ts';
import { checkClasses, FileDataset, splitEntries } from './file-dataset.ts';
import type { FileEntry, SplitOptions } from './file-dataset.ts';

export interface ListOptions extends SplitOptions {
  /** Folder that paths are relative to. Default: the folder of the list. */
  root?: string;
  /** A list of held-out images. Default: a part of the first list is held out by seed. */
  valFile?: string;
}

interface ListLine {
  path: string;
  label: string;
}

/**
 * Opens a list of labelled images. Labels may be names or numbers; classes are the labels of the (train) list, numbers in
 * numerical order, names in the order of their characters. Whether the files exist is seen when they are read.
 */
export async function openListFile(file: string, options: ListOptions = {}): Promise<DatasetPair> {
  const root = resolve(options.root ?? dirname(file));
  const lines = await readList(file);
  const classes = sortLabels([...new Set(lines.map((line) => line.label))]);
  const labelOf = new Map(classes.map((name, label) => [name, label]));
  const entries = (from: ListLine[], where: string): FileEntry[] =>
    from.map(({ path, label }) => {
      const number = labelOf.get(label);
      if (number === undefined) {
        throw new DeitError('bad-data', 'Held-out images belong to a class that train lacks.', {
          where,
          expected: `one of ${classes.length} labels`,
          found: label,
          fix: 'Correct the label, or add the class to the train list.',
        });
      }
      return { path: join(root, path), label: number };
    });
  const dataset = (split: 'train' | 'val', of: FileEntry[]): FileDataset =>
    new FileDataset({ name: file, split, classes, root }, of);
  const all = entries(lines, file);
  checkClasses(dataset('train', all), file);
  if (options.valFile === undefined) {
    const { train, val } = splitEntries(all, classes, options);
    return { train: dataset('train', train), val: dataset('val', val), split: 'drawn' };
  }
  const held = entries(await readList(options.valFile), options.valFile);
  return { train: dataset('train', all), val: dataset('val', held), split: 'given' };
}

function sortLabels(labels: string[]): string[] {
  const areNumbers = labels.every((label) => /^\d{1,9}$/.test(label));
  return areNumbers ? labels.sort((a, b) => Number(a) - Number(b)) : labels.sort();
}

async function readList(file: string): Promise<ListLine[]> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (cause) {
    const isText = !(cause instanceof TypeError);
    throw new DeitError(isText ? 'file-unreadable' : 'file-corrupt', 'A list of images cannot be read.', {
      where: file,
      expected: 'a UTF-8 text file with lines path<TAB>label',
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
  return parseList(text, file);
}

/** The lines of a list. Throws, naming file and line, on a line of another form or a path that leaves the folder. */
export function parseList(text: string, file: string): ListLine[] {
  const lines: ListLine[] = [];
  text.split(/\r?\n/).forEach((line, number) => {
    if (line.trim() === '' || line.startsWith('#')) return;
    const where = `${file}, line ${number + 1}`;
    const fields = line.split('\t');
    const [path, label] = fields.map((field) => field.trim());
    if (fields.length !== 2 || path === '' || label === '') {
      throw new DeitError('file-corrupt', 'A line of the list is not a path, a tab and a label.', {
        where,
        expected: 'path<TAB>label',
        found: JSON.stringify(line.slice(0, 200)),
      });
    }
    checkRelative(path, where);
    lines.push({ path, label });
  });
  if (lines.length === 0) {
    throw new DeitError('bad-data', 'The list names no images.', { where: file, expected: 'lines path<TAB>label' });
  }
  return lines;
}

function checkRelative(path: string, where: string): void {
  // Windows separators and drives are refused everywhere, so that a list means the same on every system.
  const isForeign = path.includes('\\') || /^[A-Za-z]:/.test(path) || path.includes('\0');
  const leaves = normalize(path).split(sep)[0] === '..';
  if (!isForeign && !leaves && !isAbsolute(path)) return;
  throw new DeitError('bad-data', 'A path in the list leaves the folder of the data set.', {
    where,
    expected: 'a path relative to the folder, with forward slashes, without a way out of it',
    found: JSON.stringify(path.slice(0, 200)),
    fix: 'Make the path relative to the list, or name the folder that holds the images (root).',
  });
}
