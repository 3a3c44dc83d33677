/** A data set whose images are files of their own. Node only. */
import { join, relative, sep } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import { checkIndex, countClasses } from '../dataset.ts';
import type { Dataset, RgbImage, Split } from '../dataset.ts';
import { decodeImage } from './decode.ts';
import { READ_FORMATS, someNames } from './file-names.ts';
import type { FolderImages } from './scan.ts';

/** Many labelled files, by number. A million of them take some 50 MB: names are kept once a folder, labels as numbers. */
export interface FileTable {
  /** Class of each file. */
  readonly labels: Uint32Array;
  path(index: number): string;
}

/** The files of folders of images; `classes` holds the folders of each class. */
export function folderTable(classes: readonly (readonly FolderImages[])[]): FileTable {
  const parts = classes.flat();
  const starts = new Uint32Array(parts.length + 1);
  parts.forEach(({ names }, i) => (starts[i + 1] = starts[i] + names.length));
  const labels = new Uint32Array(starts[parts.length]);
  let at = 0;
  for (const [label, own] of classes.entries()) {
    const count = own.reduce((sum, { names }) => sum + names.length, 0);
    labels.fill(label, at, (at += count));
  }
  return {
    labels,
    path(index) {
      // The last part that begins at or before the index.
      let [low, high] = [0, parts.length - 1];
      while (low < high) {
        const middle = (low + high + 1) >>> 1;
        if (starts[middle] <= index) low = middle;
        else high = middle - 1;
      }
      return join(parts[low].folder, parts[low].names[index - starts[low]]);
    },
  };
}

export interface FileSource {
  readonly name: string;
  readonly split: Split;
  readonly classes: readonly string[];
  /** Folder of the data set, which the names of its files are relative to. */
  readonly base: string;
  /** Files must lie inside this folder once links are followed; undefined: anywhere. */
  readonly root?: string | undefined;
}

export class FileDataset implements Dataset {
  readonly name: string;
  readonly split: Split;
  readonly classes: readonly string[];
  readonly length: number;
  readonly root: string | undefined;
  private readonly base: string;
  private readonly prefix: string;

  constructor(
    source: FileSource,
    private readonly files: FileTable,
  ) {
    this.name = source.name;
    this.split = source.split;
    this.classes = source.classes;
    this.root = source.root;
    this.base = source.base;
    this.prefix = join(source.base, sep);
    this.length = files.labels.length;
  }

  image(index: number): Promise<RgbImage> {
    return decodeImage(this.path(index), this.root);
  }

  label(index: number): number {
    checkIndex(this, index);
    return this.files.labels[index];
  }

  path(index: number): string {
    checkIndex(this, index);
    return this.files.path(index);
  }

  relativePath(index: number): string {
    const path = this.path(index);
    // `relative` is slow for a million files.
    const name = path.startsWith(this.prefix) ? path.slice(this.prefix.length) : relative(this.base, path);
    // In composed form, as the names of classes: some systems decompose accents when files are copied.
    return name.replaceAll(sep, '/').normalize();
  }
}

/** Throws unless there are two classes or more and every one has an image. `besides` says what else there is. */
export function checkClasses(dataset: Dataset, where: string, besides = ''): void {
  const { classes } = dataset;
  if (classes.length < 2) {
    throw new DeitError('bad-data', 'A classifier needs at least two classes.', {
      where,
      expected: 'two class folders or labels at least',
      found: classes.length === 0 ? 'none' : `only "${classes[0]}"`,
      fix: 'Put the images of each class into a folder of its own.',
    });
  }
  const counts = countClasses(dataset);
  const empty = classes.filter((_, label) => counts[label] === 0);
  if (empty.length === 0) return;
  throw new DeitError('bad-data', 'A class has no images.', {
    where,
    expected: `at least one ${READ_FORMATS} image in every class`,
    found: `none in ${someNames(empty)}${besides && `; ${besides}`}`,
    fix: 'Add images to the class, or remove its folder.',
  });
}
