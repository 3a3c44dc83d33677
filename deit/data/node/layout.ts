/** What the folders of a data set are: training, validation and test images, or classes. Node only. */
import { basename, join } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import type { Split } from '../dataset.ts';
import { isImageName, otherFormatOf, someNames } from './file-names.ts';
import type { Listed, Scanner } from './scan.ts';

/** A folder of class folders. */
export interface Part extends Listed {
  readonly classes: readonly Listed[];
}

/** What the folders of a data set were taken for. */
export interface Layout {
  /** One for each part of the data set, or `all` where it is not divided. */
  readonly parts: ReadonlyMap<Split | 'all', Part>;
  /** What a reader should know of how the folders were understood. */
  readonly notes: readonly string[];
}

/** Names by which data sets call their parts, in small letters and without what surrounds them. */
const SPLIT_NAMES: Readonly<Record<string, Split>> = {
  train: 'train',
  training: 'train',
  val: 'val',
  valid: 'val',
  validation: 'val',
  validate: 'val',
  dev: 'val',
  eval: 'val',
  evaluation: 'val',
  test: 'test',
  testing: 'test',
};

/** Words that data sets put around these names: training_set, seg_train, test-images, TrainData. */
const AROUND = new Set(['set', 'data', 'dataset', 'images', 'imgs', 'img', 'split', 'seg', 'folder']);

/** Folders within folders that are followed down to the data; downloads have two or three. */
const DEEPEST = 6;

/** Which part of a data set a folder of this name is, in any case; undefined for any other name. */
export function splitOf(name: string): Split | undefined {
  const words = name.replaceAll(/([a-z])([A-Z])/g, '$1 $2').toLowerCase().split(/[-_. ]+/); // prettier-ignore
  const [word, ...more] = words.filter((each) => each !== '' && !AROUND.has(each));
  const bare = word?.replace(/\d+$/, ''); // test1, train2017
  return bare !== undefined && more.length === 0 && Object.hasOwn(SPLIT_NAMES, bare) ? SPLIT_NAMES[bare] : undefined;
}

/**
 * Finds out how the folder of a data set is laid out: its parts in folders of their own under any common name, or class
 * folders; both may lie deeper, in the one folder that has them. Throws `bad-data` where there are two readings.
 */
export async function understand(scanner: Scanner): Promise<Layout> {
  const notes: string[] = [];
  let at: Listed = { folder: scanner.root, listing: await scanner.list(scanner.root) };
  for (let depth = 0; ; depth++) {
    const children = await scanner.children(at);
    const folders = partsAmong(scanner, at, children, notes);
    if (folders) {
      const parts = new Map<Split, Part>();
      for (const split of ['train', 'val', 'test'] as const) {
        const folder = folders.get(split);
        if (folder) parts.set(split, await unwrapped(scanner, folder));
      }
      return { parts, notes };
    }
    const inner = depth < DEEPEST ? await theOneInside(scanner, at, children) : null;
    passOverLoose(scanner, at);
    if (!inner) return { parts: new Map([['all', { ...at, classes: children }]]), notes };
    passOverFolders(scanner, children, [inner]);
    notes.push(`read from ${scanner.nameOf(inner.folder.path)}`);
    at = inner;
  }
}

const nameOf = ({ folder }: Listed): string => basename(folder.path);
const namesOf = (folders: readonly Listed[]): string => someNames(folders.map(nameOf));
const countImages = ({ listing }: Listed): number => listing.files.filter(isImageName).length;
const hasFolders = ({ listing }: Listed): boolean => listing.folders.length > 0;
const isWrapper = (folder: Listed): boolean => hasFolders(folder) && countImages(folder) === 0;
const longName = (split: Split): string => ({ train: 'training', val: 'validation', test: 'test' })[split];

/** The parts of a data set among the folders of one; null if they are no parts. */
function partsAmong(
  scanner: Scanner,
  at: Listed,
  children: readonly Listed[],
  notes: string[],
): Map<Split, Listed> | null {
  const named = children.filter((child) => splitOf(nameOf(child)) !== undefined);
  const others = children.filter((child) => !named.includes(child));
  const flat = named.filter((child) => !hasFolders(child));
  const parts = new Map<Split, Listed>();
  for (const child of named.filter(hasFolders)) {
    const split = splitOf(nameOf(child))!;
    const other = parts.get(split);
    if (other) {
      const both = `${nameOf(other)} and ${nameOf(child)} both name ${longName(split)} images`;
      throw twoReadings(at, both, 'Remove, rename or merge one of them.');
    }
    parts.set(split, child);
  }
  if (parts.size === 0) {
    if (flat.length > 0) readAsClasses(at, flat, others, notes);
    return null;
  }
  const found = [...parts.values()];
  const classLike = others.filter((child) => countImages(child) > 0);
  // Where it is the only part, its name may as well be that of a class.
  if (found.length === 1 && classLike.length > 0) {
    const name = nameOf(found[0]);
    throw twoReadings(
      at,
      `${name} holds folders, as a part of a data set does; beside it are folders of images: ${namesOf(classLike)}`,
      `Move the classes that are to be trained on into a folder "train", or move ${name} out of the data set.`,
    );
  }
  for (const child of flat) {
    const count = countImages(child);
    if (count === 0 && splitOf(nameOf(child)) === 'val') throw noImages(child.folder.path);
    notes.push(`${nameOf(child)} holds ${count > 0 ? `${count} images, but no class folders` : 'nothing'}: left out`);
  }
  passOverFolders(scanner, others, found);
  passOverLoose(scanner, at);
  return parts;
}

/** Folders that bear the name of a part but hold images themselves: they can only be classes of that name. */
function readAsClasses(at: Listed, flat: readonly Listed[], others: readonly Listed[], notes: string[]): void {
  const full = flat.filter((child) => countImages(child) > 0);
  if (others.length === 0) {
    throw new DeitError('bad-data', 'The images are not in class folders.', {
      where: at.folder.path,
      expected: 'a folder for each class, for example train/cat/1.jpg',
      found: full.length > 0 ? `images in ${namesOf(full)} itself` : `nothing in ${namesOf(flat)}`,
      fix: 'Put the images of each class into a folder of its own, or write a list file: path, tab, label on each line.',
    });
  }
  // Trains are photographed; validation and test are nothing to photograph, and nothing to train on unawares.
  const heldOut = full.filter((child) => splitOf(nameOf(child)) !== 'train');
  if (heldOut.length > 0) {
    throw twoReadings(
      at,
      `${namesOf(heldOut)} holds images but no class folders; beside it: ${namesOf(others)}`,
      'Move the held-out images out of the data set or into class folders; a class of that name needs another one.',
    );
  }
  for (const child of full) notes.push(`${nameOf(child)} holds images itself: it is read as a class`);
}

/** The one folder that holds the data set: the only one, or the only one with parts in it. Null if these are the classes. */
async function theOneInside(scanner: Scanner, at: Listed, children: readonly Listed[]): Promise<Listed | null> {
  const holders: Listed[] = [];
  for (const child of children) {
    const names = child.listing.folders.filter((name) => splitOf(name) !== undefined);
    if (names.length === 0) continue;
    const listing = { ...child.listing, folders: names };
    const inside = await scanner.children({ folder: child.folder, listing });
    if (inside.some(hasFolders)) holders.push(child);
    else if (names.length > 1 || names.some((name) => splitOf(name) !== 'train')) {
      throw twoReadings(
        at,
        `${nameOf(child)} holds ${someNames(names)}: the parts of the data set within its classes`,
        `Lay the folders out the other way round: ${names[0]}/${nameOf(child)}.`,
      );
    }
  }
  if (holders.length === 0) return children.length === 1 && isWrapper(children[0]) ? children[0] : null;
  const classLike = children.filter((child) => countImages(child) > 0 && !holders.includes(child));
  if (holders.length === 1 && classLike.length === 0) return holders[0];
  throw twoReadings(
    at,
    `${namesOf(holders)} each hold the parts of a data set${classLike.length > 0 ? `; beside them are folders of images: ${namesOf(classLike)}` : ''}`,
    `Name the one that is meant, for example ${join(at.folder.path, nameOf(holders[0]))}.`,
  );
}

/** Down through folders that hold one folder of folders and nothing else: downloads have train/train/cat. */
async function unwrapped(scanner: Scanner, folder: Listed): Promise<Part> {
  let at = folder;
  for (let depth = 0; ; depth++) {
    const classes = await scanner.children(at);
    if (depth === DEEPEST || classes.length !== 1 || !isWrapper(at) || !isWrapper(classes[0]))
      return { ...at, classes };
    at = classes[0];
  }
}

/** Accounts for folders that are not read. */
function passOverFolders(scanner: Scanner, folders: readonly Listed[], read: readonly Listed[]): void {
  for (const folder of folders) {
    if (!read.includes(folder)) scanner.leftOut.add('folder', `beside ${namesOf(read)}`, scanner.nameOf(folder.folder.path)); // prettier-ignore
  }
}

/** Accounts for images beside the folders that are read; other files there are of no concern. */
function passOverLoose(scanner: Scanner, { folder, listing }: Listed): void {
  for (const name of listing.files) {
    const path = join(folder.path, name);
    if (isImageName(name)) scanner.leftOut.add('image', 'in no class folder', scanner.nameOf(path));
    else if (otherFormatOf(name)) scanner.passOver(path);
  }
}

/** What is wrong with a part of a data set that holds no image. */
export const noImages = (folder: string): DeitError =>
  new DeitError('bad-data', 'A part of the data set has no images.', {
    where: folder,
    expected: 'images in class folders',
    fix: 'Add images, or remove the folder: without one for validation, a part of train is held out.',
  });

const twoReadings = ({ folder }: Listed, found: string, fix: string): DeitError =>
  new DeitError('bad-data', 'The folders of this data set can be read in two ways.', {
    where: folder.path,
    expected: 'class folders, or the folders train, val and test with class folders in them',
    found,
    fix,
  });
