/** A data set whose images are files of their own, and its division into train and val. Node only. */
import { DeitError, PhiloxStream, Purpose } from '../../../engine/index.ts';
import { checkIndex, countClasses } from '../dataset.ts';
import type { Dataset, RgbImage, Split } from '../dataset.ts';
import { decodeImage } from './decode.ts';

/** One labelled image file. */
export interface FileEntry {
  path: string;
  label: number;
}

export class FileDataset implements Dataset {
  readonly name: string;
  readonly split: Split;
  readonly classes: readonly string[];
  readonly length: number;
  /** Files must lie inside this folder once links are followed; undefined: anywhere. */
  readonly root: string | undefined;

  constructor(
    source: { name: string; split: Split; classes: readonly string[]; root?: string | undefined },
    private readonly entries: readonly FileEntry[],
  ) {
    this.name = source.name;
    this.split = source.split;
    this.classes = source.classes;
    this.root = source.root;
    this.length = entries.length;
  }

  image(index: number): Promise<RgbImage> {
    return decodeImage(this.path(index), this.root);
  }

  label(index: number): number {
    checkIndex(this, index);
    return this.entries[index].label;
  }

  path(index: number): string {
    checkIndex(this, index);
    return this.entries[index].path;
  }
}

export interface SplitOptions {
  /** Part of every class that goes to val where the source has no val of its own. Default 0.2. */
  valFraction?: number;
  /** Seed of that choice. Default 0. */
  seed?: number;
}

/**
 * Divides entries by class: of each class, `valFraction` (rounded, at least one and not all) is drawn by the seed. A class of
 * one image cannot be divided.
 */
export function splitEntries(
  entries: readonly FileEntry[],
  classes: readonly string[],
  options: SplitOptions,
): { train: FileEntry[]; val: FileEntry[] } {
  const { valFraction = 0.2, seed = 0 } = options;
  if (!(valFraction > 0 && valFraction < 1)) {
    throw new DeitError('bad-config', 'The part of the images that is held out is out of range.', {
      where: 'valFraction',
      expected: 'above 0 and below 1',
      found: String(valFraction),
    });
  }
  const train: FileEntry[] = [];
  const val: FileEntry[] = [];
  classes.forEach((name, label) => {
    const members = entries.filter((entry) => entry.label === label);
    if (members.length < 2) {
      throw new DeitError('bad-data', 'A class has too few images to hold some out.', {
        where: name,
        expected: 'at least 2 images',
        found: `${members.length}`,
        fix: 'Add images, or give a val folder of its own.',
      });
    }
    const order = new PhiloxStream(seed, Purpose.sample, 0, label).permutation(members.length);
    const held = Math.min(members.length - 1, Math.max(1, Math.round(valFraction * members.length)));
    const isHeld = new Set(order.subarray(0, held));
    members.forEach((entry, i) => (isHeld.has(i) ? val : train).push(entry));
  });
  return { train, val };
}

/** Throws unless there are two classes or more and every one has an image. */
export function checkClasses(dataset: Dataset, where: string): void {
  if (dataset.classes.length < 2) {
    throw new DeitError('bad-data', 'A classifier needs at least two classes.', {
      where,
      expected: 'two class folders or labels at least',
      found: dataset.classes.length === 0 ? 'none' : `only "${dataset.classes[0]}"`,
      fix: 'Put the images of each class into a folder of its own.',
    });
  }
  const empty = dataset.classes.filter((_, label) => countClasses(dataset)[label] === 0);
  if (empty.length === 0) return;
  throw new DeitError('bad-data', 'A class has no images.', {
    where,
    expected: 'at least one JPEG, PNG or WebP image in every class',
    found: `none in ${empty.join(', ')}`,
    fix: 'Add images to the class, or remove its folder.',
  });
}
