/**
 * Images in tar archives ("shards"), as WebDataset lays them out: members KEY.jpg and KEY.cls, the label as text; or class
 * folders in a tar, the label being the first folder. Images are read where they lie, in any order. Node only.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import { checkIndex } from '../dataset.ts';
import type { Dataset, FileRange, RgbImage, Split } from '../dataset.ts';
import { decodeBytes } from './decode.ts';
import { isImageName, otherFormatOf, someNames, sortNames } from './file-names.ts';
import type { ImageSource, SourcePart } from './image-source.ts';
import { LeftOut } from './left-out.ts';
import { listTar, readRange } from './tar.ts';
import type { TarListing, TarMember } from './tar.ts';

const ENDING = /\.tar$/i;

/** Beside the shards: names of the classes that .cls members number, one a line. */
const CLASSES = 'classes.txt';

/** Names of parts, as a shard's or a folder's name begins. */
const PARTS: readonly [Split, RegExp][] = [
  ['train', /(^|[-_.])train(ing)?([-_.\d]|$)/i],
  ['val', /(^|[-_.])val(id|idation)?([-_.\d]|$)/i],
  ['test', /(^|[-_.])test(ing)?([-_.\d]|$)/i],
];

/** The shards that a path names: a .tar file, a pattern with {000..127}, or a folder of them or of train/ and val/ of them; [] for anything else. */
export const findShards = (path: string): string[] => findFiles(path, ENDING);

/** The same for files of another ending. */
export function findFiles(path: string, ending: RegExp): string[] {
  const isOne = (name: string): boolean => ending.test(name) && !name.startsWith('.');
  const range = /\{(\d+)\.\.(\d+)\}/.exec(path);
  if (range && isOne(path)) {
    const [first, last] = [Number(range[1]), Number(range[2])];
    if (last - first >= 1e6) return [];
    const names = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => String(first + i).padStart(range[1].length, '0')); // prettier-ignore
    return names.map((number) => path.replace(range[0], number));
  }
  // A path below a file exists no more than one in no folder.
  if (!existsSync(path)) return [];
  const kind = statSync(path);
  if (kind.isFile()) return isOne(path) ? [path] : [];
  if (!kind.isDirectory()) return [];
  const entries = readdirSync(path, { withFileTypes: true });
  const own = sortNames(entries.map(({ name }) => name).filter(isOne));
  if (own.length > 0) return own.map((name) => join(path, name));
  const folders = sortNames(entries.filter((e) => e.isDirectory() && partOfFolder(e.name)).map(({ name }) => name));
  return folders.flatMap((name) => sortNames(readdirSync(join(path, name)).filter(isOne)).map((file) => join(path, name, file))); // prettier-ignore
}

const partOf = (name: string): Split | undefined => PARTS.find(([, pattern]) => pattern.test(name))?.[0];

const partOfFolder = (name: string): Split | undefined => (/^[a-z]+$/i.test(name) ? partOf(name) : undefined);

/** Which part a file belongs to, by its name without the ending or else its folder's. */
export const partOfFile = (file: string, ending: RegExp): Split | undefined =>
  partOf(basename(file).replace(ending, '')) ?? partOfFolder(basename(dirname(file)));

const partOfShard = (file: string): Split | undefined => partOfFile(file, ENDING);

interface Found {
  readonly listing: TarListing;
  readonly member: TarMember;
  readonly label: string;
}

/** Opens shards found by `findShards`. */
export function readShards(name: string, files: readonly string[]): ImageSource {
  const leftOut = new LeftOut();
  const groups = new Map<Split | 'all', Found[]>();
  const areDivided = files.every((file) => partOfShard(file) !== undefined);
  for (const file of files) {
    const split = areDivided ? partOfShard(file)! : 'all';
    const found = groups.get(split) ?? groups.set(split, []).get(split)!;
    for (const image of imagesOf(listTar(file), leftOut)) found.push(image);
  }
  const main =
    (['train', 'all', 'val', 'test'] as const).map((split) => groups.get(split)).find((found) => found) ?? [];
  const { classes, numberOf } = classesOf(main, join(dirname(files[0]), CLASSES), name);
  const parts = new Map<Split | 'all', SourcePart>();
  for (const split of ['train', 'val', 'test', 'all'] as const) {
    const found = groups.get(split);
    if (!found) continue;
    const unknown = found.find(({ label }) => numberOf(label) === undefined);
    const numbered = found.map((image) => ({ ...image, number: numberOf(image.label) ?? 0 }));
    // By class, as the images of folders are: the same set has the same numbers, and so the same draws, in both.
    numbered.sort((a, b) => a.number - b.number);
    const dataset = new ShardDataset({ name, split: split === 'all' ? 'train' : split, classes }, numbered);
    parts.set(split, { label: split === 'all' ? '' : split, dataset, problem: unknown ? unknownLabel(unknown, classes) : null }); // prettier-ignore
  }
  const notes = [`${files.length} ${files.length === 1 ? 'shard' : 'shards'} (tar)`];
  return { kind: 'shards', name, classes, parts, notes, leftOut: String(leftOut) };
}

/** The images of an archive, each with its label. */
function imagesOf(listing: TarListing, leftOut: LeftOut): Found[] {
  const labels = new Map<string, TarMember>();
  const seen = new Set<string>();
  const images: TarMember[] = [];
  for (const member of listing.members) {
    const { name } = member;
    if (seen.has(name)) throw twice(listing.file, name);
    seen.add(name);
    if (basename(name).startsWith('.')) leftOut.add('hidden file', 'in a shard', name);
    else if (isImageName(name)) images.push(member);
    else if (/\.cls$/i.test(name)) labels.set(keyOf(name), member);
    else if (!/\.(json|txt|__key__)$/i.test(name)) leftOut.add('file', `in a shard in ${otherFormatOf(name) ?? 'no image'} format`, name); // prettier-ignore
  }
  return images.map((member) => ({ listing, member, label: labelOf(listing, member, labels.get(keyOf(member.name))) }));
}

/** What the members of one sample have in common: all before the first dot of the file's name. */
const keyOf = (name: string): string => join(dirname(name), basename(name).split('.')[0]);

function labelOf(listing: TarListing, image: TarMember, label: TarMember | undefined): string {
  if (label) {
    const written = label.bytes <= 1024 ? readRange({ ...listing, ...label }, label.name) : new Uint8Array();
    const text = new TextDecoder().decode(written).trim().normalize();
    if (text !== '') return text;
  } else {
    const [folder, ...rest] = image.name.replace(/^(\.\/)+/, '').split('/');
    if (rest.length > 0) return folder.normalize();
  }
  throw new DeitError('bad-data', 'An image in a shard has no label.', {
    where: `${image.name} in ${listing.file}`,
    expected: `a member ${keyOf(image.name)}.cls that holds its class, or a folder that is named for it`,
    found: label ? 'an empty or very long .cls' : 'neither',
    fix: '`deit data pack` makes such shards from folders.',
  });
}

/** The classes, and the number of a label: from classes.txt, else the labels themselves in order. */
function classesOf(
  images: readonly Found[],
  file: string,
  where: string,
): { classes: string[]; numberOf: (label: string) => number | undefined } {
  const labels = [...new Set(images.map(({ label }) => label))];
  if (labels.length === 0) {
    throw new DeitError('bad-data', 'The shards hold no images.', {
      where,
      expected: 'members such as 0001.jpg and 0001.cls',
    });
  }
  const areNumbers = labels.every((label) => /^\d{1,9}$/.test(label));
  const classes = namesIn(file) ?? (areNumbers ? labels.sort((a, b) => Number(a) - Number(b)) : sortNames(labels));
  const numbers = new Map(classes.map((name, number) => [name, number]));
  const isListed = areNumbers && !labels.every((label) => numbers.has(label));
  return {
    classes,
    numberOf: (label) => (isListed ? (Number(label) < classes.length ? Number(label) : undefined) : numbers.get(label)),
  };
}

function namesIn(file: string): string[] | undefined {
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return undefined;
  const names = readFileSync(file, 'utf8').replace(/^\ufeff/, '').split(/\r?\n/).map((name) => name.normalize()); // prettier-ignore
  while (names.at(-1) === '') names.pop();
  if (names.length > 0 && !names.includes('') && new Set(names).size === names.length) return names;
  throw new DeitError('file-corrupt', 'The list of classes of some shards is broken.', {
    where: file,
    expected: 'names of classes, one a line, none empty or twice',
  });
}

class ShardDataset implements Dataset {
  readonly name: string;
  readonly split: Split;
  readonly classes: readonly string[];
  readonly length: number;

  constructor(
    source: { name: string; split: Split; classes: readonly string[] },
    private readonly images: readonly (Found & { number: number })[],
  ) {
    this.name = source.name;
    this.split = source.split;
    this.classes = source.classes;
    this.length = images.length;
  }

  label(index: number): number {
    checkIndex(this, index);
    return this.images[index].number;
  }

  path(index: number): string {
    checkIndex(this, index);
    const { listing, member } = this.images[index];
    return join(listing.file, member.name);
  }

  relativePath(index: number): string {
    checkIndex(this, index);
    return this.images[index].member.name.normalize();
  }

  range(index: number): FileRange {
    checkIndex(this, index);
    const { listing, member } = this.images[index];
    const { file, size, changed } = listing;
    return { file, size, changed, offset: member.offset, bytes: member.bytes };
  }

  image(index: number): Promise<RgbImage> {
    const name = this.path(index);
    return decodeBytes(readRange(this.range(index), name), name);
  }
}

const twice = (file: string, name: string): DeitError =>
  new DeitError('bad-data', 'A shard has two members of the same name.', {
    where: file,
    found: name,
    fix: 'Make the shard again, with a name for each image.',
  });

const unknownLabel = ({ listing, member, label }: Found, classes: readonly string[]): DeitError =>
  new DeitError('bad-data', 'An image in a shard has a label that is none of the classes.', {
    where: `${member.name} in ${listing.file}`,
    expected: `one of ${classes.length} classes: ${someNames(classes)}`,
    found: label,
    fix: 'Correct the label, or the list of classes (classes.txt).',
  });
