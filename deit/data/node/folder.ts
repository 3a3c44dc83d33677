/**
 * Folders of images by class: `train/CLASS/*.jpg` and `val/CLASS/*.jpg` under any of their common names, or `CLASS/*.jpg`.
 * Node only.
 */
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DeitError, nearestName } from '../../../engine/index.ts';
import type { Split } from '../dataset.ts';
import { someNames, sortNames } from './file-names.ts';
import { FileDataset, folderTable } from './file-dataset.ts';
import type { ImageSource, SourcePart } from './image-source.ts';
import { noImages, understand } from './layout.ts';
import type { Part } from './layout.ts';
import { Scanner } from './scan.ts';
import type { LinkPolicy, Listed } from './scan.ts';

export interface FolderOptions {
  /** What to do with links that lead out of the folder: follow them as torchvision does (default), or refuse the data set. */
  links?: LinkPolicy;
}

/**
 * Reads a folder of images. Classes are the class folders of `train`, else of whatever there is, in the order of their
 * names; the other parts may lack some but may have no others. Files are found at any depth, in the order of their paths;
 * hidden files are passed over.
 */
export async function readImageFolder(root: string, { links = 'follow' }: FolderOptions = {}): Promise<ImageSource> {
  const scanner = await Scanner.open(root, links);
  const layout = await understand(scanner);
  const main = (['train', 'all', 'val', 'test'] as const).map((name) => layout.parts.get(name)).find((part) => part)!;
  const classes = classNames(main);
  const parts = new Map<Split | 'all', SourcePart>();
  for (const [split, part] of layout.parts) parts.set(split, await readPart(scanner, part, split, classes, links));
  const notes = [...layout.notes, ...numberedByText(classes)];
  const { outside, leftOut } = scanner;
  if (outside.length > 0) notes.push(`read through links out of the folder: ${someNames(outside)} (data.links=inside refuses them)`); // prettier-ignore
  return { kind: 'folder', name: root, classes, parts, notes, leftOut: String(leftOut) };
}

/** Names of the classes, in composed form: the same name reads the same from every system. */
function classNames(part: Part): string[] {
  const names = part.classes.map(nameOf);
  const classes = sortNames(names.map((name) => name.normalize()));
  const twice = classes.find((name, i) => name === classes[i - 1]);
  if (twice === undefined) return classes;
  throw new DeitError('bad-data', 'Two class folders bear the same name, written in different bytes.', {
    where: part.folder.path,
    found: names.filter((name) => name.normalize() === twice).map((name) => JSON.stringify(name)).join(' and '), // prettier-ignore
    fix: 'Move their images into one folder.',
  });
}

const nameOf = ({ folder }: Listed): string => basename(folder.path);

async function readPart(
  scanner: Scanner,
  part: Part,
  split: Split | 'all',
  classes: readonly string[],
  links: LinkPolicy,
): Promise<SourcePart> {
  const { path } = part.folder;
  const folders = new Map(part.classes.map((listed) => [nameOf(listed).normalize(), listed]));
  const present = classes.filter((name) => folders.has(name));
  const images = await scanner.imagesOfEach(present.map((name) => folders.get(name)!));
  const found = new Map(present.map((name, i) => [name, images[i]]));
  const { path: base } = scanner.root;
  const source = { name: base, base, split: split === 'all' ? ('train' as const) : split, classes };
  const files = folderTable(classes.map((name) => found.get(name) ?? []));
  const dataset = new FileDataset({ ...source, root: links === 'inside' ? base : undefined }, files);
  const known = new Set(classes);
  const unknown = [...folders.keys()].filter((name) => !known.has(name));
  return {
    label: split === 'all' ? '' : `${scanner.nameOf(path)}/`,
    dataset,
    problem: unknown.length > 0 ? unknownClasses(path, unknown, classes) : dataset.length > 0 ? null : noImages(path),
  };
}

function unknownClasses(folder: string, unknown: readonly string[], classes: readonly string[]): DeitError {
  const near = nearestName(unknown[0], classes);
  return new DeitError('bad-data', 'Held-out images belong to a class that train lacks.', {
    where: folder,
    expected: `only ${classes.length} classes: ${someNames(classes)}`,
    found: someNames(unknown),
    fix: near ? `Is "${unknown[0]}" meant to be "${near}"?` : 'Rename or remove the folder, or add the class to train.',
  });
}

/** Says that numbers are in the order of texts, where that is another one. */
function numberedByText(classes: readonly string[]): string[] {
  if (!classes.every((name) => /^-?\d+$/.test(name))) return [];
  const at = classes.findIndex((name, i) => i > 0 && Number(name) < Number(classes[i - 1]));
  if (at < 0) return [];
  return [
    `the class folders are in the order of their names as texts, as torchvision has them: class ${at} is "${classes[at]}", after "${classes[at - 1]}"`,
  ];
}

/** The image files that some paths name: files as they are, folders at any depth. `leftOut` says what the folders hold besides. */
export async function collectImages(paths: readonly string[]): Promise<{ files: string[]; leftOut: string }> {
  const files: string[] = [];
  const accounts: string[] = [];
  for (const path of paths) {
    const isFolder = await stat(path).then((found) => found.isDirectory(), () => false); // prettier-ignore
    if (!isFolder) {
      files.push(path);
      continue;
    }
    const scanner = await Scanner.open(path);
    for (const { folder, names } of await scanner.images(scanner.root)) {
      for (const name of names) files.push(join(folder, name));
    }
    if (!scanner.leftOut.isEmpty) accounts.push(`${path}: ${String(scanner.leftOut)}`);
  }
  return { files, leftOut: accounts.join('; ') };
}
