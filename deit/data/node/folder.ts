/** Folders of images by class: `train/CLASS/*.jpg` and `val/CLASS/*.jpg`, or `CLASS/*.jpg` divided by a seed. Node only. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DeitError, nearestName } from '../../../engine/index.ts';
import type { DatasetPair } from './cifar-files.ts';
import { isImageName } from './decode.ts';
import { checkClasses, FileDataset, splitEntries } from './file-dataset.ts';
import type { FileEntry, SplitOptions } from './file-dataset.ts';

export interface FolderOptions extends SplitOptions {
  /** Follow links out of the folder. Default false: such images count as unreadable. */
  allowOutside?: boolean;
}

/** Train and val, and the files that were passed over because their names are not those of images. */
export interface FolderPair extends DatasetPair {
  ignored: string[];
}

/**
 * Opens a folder of images. Classes are the class folders of `train` in the order of their names; `val` (or `validation`)
 * may lack some but may have no others. Without `train`, the folder's own folders are the classes.
 * Files are found at any depth, in the order of their paths; hidden files are passed over.
 */
export async function openImageFolder(root: string, options: FolderOptions = {}): Promise<FolderPair> {
  const folders = await classFolders(root);
  const isSplit = folders.includes('train');
  const trainFolder = isSplit ? join(root, 'train') : root;
  const classes = isSplit ? await classFolders(trainFolder) : folders;
  const ignored: string[] = [];
  const all = await listEntries(trainFolder, classes, ignored);
  const dataset = (split: 'train' | 'val', entries: FileEntry[]): FileDataset =>
    new FileDataset({ name: root, split, classes, root: options.allowOutside ? undefined : root }, entries);
  checkClasses(dataset('train', all), trainFolder);

  const valName = isSplit ? ['val', 'validation'].find((name) => folders.includes(name)) : undefined;
  if (valName === undefined) {
    const { train, val } = splitEntries(all, classes, options);
    return { train: dataset('train', train), val: dataset('val', val), split: 'drawn', ignored };
  }
  const valFolder = join(root, valName);
  await checkValClasses(valFolder, classes);
  const held = await listEntries(valFolder, classes, ignored);
  if (held.length === 0) {
    throw new DeitError('bad-data', 'The folder of held-out images has none.', {
      where: valFolder,
      expected: 'images in class folders named as those of train',
      fix: 'Add images, or remove the folder so that a part of train is held out.',
    });
  }
  return { train: dataset('train', all), val: dataset('val', held), split: 'given', ignored };
}

async function checkValClasses(valFolder: string, classes: readonly string[]): Promise<void> {
  const unknown = (await classFolders(valFolder)).filter((name) => !classes.includes(name));
  if (unknown.length === 0) return;
  const near = nearestName(unknown[0], classes);
  throw new DeitError('bad-data', 'Held-out images belong to a class that train lacks.', {
    where: valFolder,
    expected: `only ${classes.length} classes: ${classes.slice(0, 10).join(', ')}${classes.length > 10 ? ', ...' : ''}`,
    found: unknown.join(', '),
    fix: near ? `Is "${unknown[0]}" meant to be "${near}"?` : 'Rename or remove the folder, or add the class to train.',
  });
}

/** Names of the visible folders in a folder, in the order of their characters. */
async function classFolders(folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await list(folder)) {
    if (entry.name.startsWith('.')) continue;
    if (entry.isDirectory() || (entry.isSymbolicLink() && (await isFolder(join(folder, entry.name))))) {
      names.push(entry.name);
    }
  }
  return names.sort();
}

async function listEntries(folder: string, classes: readonly string[], ignored: string[]): Promise<FileEntry[]> {
  const entries: FileEntry[] = [];
  for (const [label, name] of classes.entries()) {
    const paths = await imagesUnder(join(folder, name), ignored);
    for (const path of paths) entries.push({ path, label });
  }
  return entries;
}

/** Image files at any depth below a folder (absent: none), in the order of their paths. Links to folders are not followed below it. */
async function imagesUnder(folder: string, ignored: string[]): Promise<string[]> {
  if (!(await isFolder(folder))) return [];
  const paths: string[] = [];
  for (const entry of (await list(folder)).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.name.startsWith('.')) continue;
    if (entry.isDirectory()) paths.push(...(await imagesUnder(path, ignored)));
    else if (isImageName(entry.name)) paths.push(path);
    else ignored.push(path);
  }
  return paths;
}

/** The image files that some paths name: files as they are, folders at any depth. */
export async function collectImages(paths: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) {
    if (await isFolder(path)) found.push(...(await imagesUnder(path, [])));
    else found.push(path);
  }
  return found;
}

async function list(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (cause) {
    throw new DeitError('file-unreadable', 'A folder of images cannot be read.', {
      where: folder,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name an existing folder with one folder of images a class.',
      cause,
    });
  }
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (s) => s.isDirectory(),
    () => false,
  );
