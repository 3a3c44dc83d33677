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
import { someNames, sortNames } from './file-names.ts';
import type { ImageSource, SourcePart } from './image-source.ts';
import { splitOf } from './layout.ts';
import { LeftOut } from './left-out.ts';
import { foldersOf, indexShard } from './shard-index.ts';
import type { ShardIndex } from './shard-index.ts';
import { readRange } from './tar.ts';

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

/** An image of a shard. */
interface Found {
  readonly index: ShardIndex;
  readonly image: number;
}

/** Opens shards found by `findShards`. */
export async function readShards(name: string, files: readonly string[]): Promise<ImageSource> {
  const leftOut = new LeftOut();
  const groups = new Map<Split | 'all', ShardIndex[]>();
  const areDivided = files.every((file) => partOfShard(file) !== undefined);
  const changed: string[] = [];
  for (const file of files) {
    const { index, from } = await indexShard(file);
    if (from === 'changed') changed.push(file);
    if (index.length === 0) leftOut.add('shard', 'without images', file);
    for (const account of index.leftOut) leftOut.add(...account);
    const split = areDivided ? partOfShard(file)! : 'all';
    (groups.get(split) ?? groups.set(split, []).get(split)!).push(index);
  }
  const labelled = new Map([...groups].map(([split, indices]) => [split, labelsIn(indices)]));
  if (labelled.has('all')) refuseParts(labelled.get('all')!);
  const main = (['train', 'all', 'val', 'test'] as const).map((split) => labelled.get(split)).find((one) => one)!;
  const { classes, numberOf } = classesOf(main.labels, join(dirname(files[0]), CLASSES), name);
  const parts = new Map<Split | 'all', SourcePart>();
  for (const split of ['train', 'val', 'test', 'all'] as const) {
    const own = labelled.get(split);
    if (!own) continue;
    const numbers = own.labels.map((label) => numberOf(label) ?? NONE);
    const unknown = own.labelOf.findIndex((label) => numbers[label] === NONE);
    const dataset = new ShardDataset({ name, split: split === 'all' ? 'train' : split, classes }, own, numbers);
    const problem = unknown < 0 ? null : unknownLabel(own, unknown, classes);
    parts.set(split, { label: split === 'all' ? '' : split, dataset, problem });
  }
  const notes = [`${files.length} ${files.length === 1 ? 'shard' : 'shards'} (tar)`];
  if (changed.length > 0) notes.push(`changed since they were last listed, and listed anew: ${someNames(changed)}`);
  return { kind: 'shards', name, classes, parts, notes, leftOut: String(leftOut) };
}

/** For a label that is none of the classes. */
const NONE = 2 ** 32 - 1;

/** Images and their labels, in columns: there may be millions. */
interface Labelled {
  readonly indices: readonly ShardIndex[];
  /** Of each image: which index it is in, its number there, its label among `labels`. */
  readonly indexOf: Uint32Array;
  readonly imageOf: Uint32Array;
  readonly labelOf: Uint32Array;
  /** All different. */
  readonly labels: readonly string[];
}

const foundIn = ({ indices, indexOf, imageOf }: Labelled, at: number): Found => ({
  index: indices[indexOf[at]],
  image: imageOf[at],
});

/** The labels of all images, where none is written those of the first folders below what all such images have in common. */
function labelsIn(indices: readonly ShardIndex[]): Labelled {
  const length = indices.reduce((sum, index) => sum + index.length, 0);
  const [indexOf, imageOf, labelOf] = [0, 1, 2].map(() => new Uint32Array(length));
  const numbers = new Map<string, number>();
  const common = commonFolders(indices);
  let at = 0;
  for (const [i, index] of indices.entries()) {
    for (let image = 0; image < index.length; image++, at++) {
      const label = index.labelOf(image) ?? foldersOf(index.nameOf(image))[common];
      if (!numbers.has(label)) numbers.set(label, numbers.size);
      [indexOf[at], imageOf[at], labelOf[at]] = [i, image, numbers.get(label)!];
    }
  }
  return { indices, indexOf, imageOf, labelOf, labels: [...numbers.keys()] };
}

/** How many of the outermost folders are the same for all images that are labelled by theirs; at least one is left for each. */
function commonFolders(indices: readonly ShardIndex[]): number {
  let common: string[] | null = null;
  for (const index of indices) {
    for (let image = 0; image < index.length; image++) {
      if (index.labelOf(image) !== null) continue;
      const outer = foldersOf(index.nameOf(image)).slice(0, -1);
      const shared: readonly string[] = common ?? outer;
      const differs = shared.findIndex((folder, i) => folder !== outer[i]);
      common = shared.slice(0, differs < 0 ? shared.length : differs);
    }
  }
  return common?.length ?? 0;
}

/** An archive of a whole data set has its parts as folders: they are no classes. */
function refuseParts({ indices, labels }: Labelled): void {
  if (labels.length === 0 || labels.some((label) => splitOf(label) === undefined)) return;
  const [index] = indices.filter(({ length }) => length > 0);
  const [part, ...inner] = foldersOf(index.nameOf(0)).slice(commonFolders(indices));
  if (index.labelOf(0) !== null || inner.length === 0) return;
  throw new DeitError(
    'bad-data',
    'An archive holds the parts of a data set as folders, where shards have the images of one part.',
    {
      where: index.file,
      expected: 'class folders, or .cls members, in files such as train-000000.tar and val-000000.tar',
      found: `${part}/${inner[0]}, in folders ${labels.join(', ')}`,
      fix: 'Unpack the archive, and name the folder; `deit data pack` makes shards of it.',
    },
  );
}

/** The classes, and the number of a label: from classes.txt, else the labels themselves in order. */
function classesOf(
  labels: readonly string[],
  file: string,
  where: string,
): { classes: string[]; numberOf: (label: string) => number | undefined } {
  if (labels.length === 0) {
    throw new DeitError('bad-data', 'The shards hold no images.', {
      where,
      expected: 'members such as 0001.jpg and 0001.cls',
    });
  }
  const areNumbers = labels.every((label) => /^\d{1,9}$/.test(label));
  const sorted = areNumbers ? [...labels].sort((a, b) => Number(a) - Number(b)) : sortNames([...labels]);
  const classes = namesIn(file) ?? sorted;
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
  /** By class, as the images of folders are: the same set has the same numbers, and so the same draws, in both. */
  private readonly order: Uint32Array;

  /** `numbers`: the class of each label. */
  constructor(
    source: { name: string; split: Split; classes: readonly string[] },
    private readonly images: Labelled,
    private readonly numbers: readonly number[],
  ) {
    this.name = source.name;
    this.split = source.split;
    this.classes = source.classes;
    this.length = images.labelOf.length;
    const numberOf = images.labelOf.map((label) => numbers[label]);
    this.order = Uint32Array.from(numberOf.keys()).sort((a, b) => numberOf[a] - numberOf[b] || a - b);
  }

  label(index: number): number {
    checkIndex(this, index);
    return this.numbers[this.images.labelOf[this.order[index]]];
  }

  path(index: number): string {
    const { index: shard, image } = this.at(index);
    return join(shard.file, shard.nameOf(image));
  }

  relativePath(index: number): string {
    const { index: shard, image } = this.at(index);
    return shard.nameOf(image).normalize();
  }

  range(index: number): FileRange {
    const { index: shard, image } = this.at(index);
    return shard.rangeOf(image);
  }

  image(index: number): Promise<RgbImage> {
    const name = this.path(index);
    return decodeBytes(readRange(this.range(index), name), name);
  }

  private at(index: number): Found {
    checkIndex(this, index);
    return foundIn(this.images, this.order[index]);
  }
}

function unknownLabel(images: Labelled, at: number, classes: readonly string[]): DeitError {
  const { index, image } = foundIn(images, at);
  return new DeitError('bad-data', 'An image in a shard has a label that is none of the classes.', {
    where: `${index.nameOf(image)} in ${index.file}`,
    expected: `one of ${classes.length} classes: ${someNames(classes)}`,
    found: images.labels[images.labelOf[at]],
    fix: 'Correct the label, or the list of classes (classes.txt).',
  });
}
