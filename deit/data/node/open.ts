/** Opens whatever holds labelled images: the shipped sample, CIFAR folders, image folders, list files. Node only. */
import { readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import { SubsetDataset, labelsOf } from '../dataset.ts';
import type { Dataset, Split } from '../dataset.ts';
import { cifar10SampleFolder, cifarKindOf, openCifar } from './cifar-files.ts';
import type { DatasetPair } from './cifar-files.ts';
import { divide } from './division.ts';
import type { SplitOptions } from './division.ts';
import { checkClasses } from './file-dataset.ts';
import { someNames } from './file-names.ts';
import { readImageFolder } from './folder.ts';
import type { ImageSource, SourcePart } from './image-source.ts';
import { readImageList } from './list-file.ts';
import { findParquet, readParquet } from './parquet.ts';
import type { LinkPolicy } from './scan.ts';
import { findFiles, findShards, readShards } from './shards.ts';

/** Name of the part of CIFAR-10 that ships with the package, where a path is asked for. */
export const sampleName = 'cifar10-sample';

export interface ReadDataOptions {
  /** For list files: a second list with the held-out images, and the folder that paths are relative to. */
  valFile?: string;
  root?: string;
  /** What to do with links that lead out of a data set: follow them (default), or refuse them. */
  links?: LinkPolicy;
  /** For Parquet files: the column of labels, where there are several that it could be. */
  labelColumn?: string | undefined;
}

export type OpenDataOptions = ReadDataOptions & SplitOptions;

/** Data to train on and to measure a training by. */
export interface OpenedData extends DatasetPair {
  readonly kind: ImageSource['kind'];
  /** Whether val was `drawn` from the images of train by seed, or `given` by the source. */
  readonly split: 'drawn' | 'given';
  /** What was understood, a line each: classes, numbers of images, parts, what is left out and why. */
  readonly notes: readonly string[];
}

/** Data to measure a model on. */
export interface OpenedPart {
  readonly kind: ImageSource['kind'];
  readonly dataset: Dataset;
  /** Whether the part was `drawn` by seed, is `given` by the source, or is the `whole` of it. */
  readonly split: 'drawn' | 'given' | 'whole';
  /** As for `OpenedData`. */
  readonly notes: readonly string[];
}

/** `source` is `cifar10-sample`, a CIFAR folder, a folder of class folders (with or without train and val), tar shards or a folder of them,
 * Parquet files or a folder of them, or a list file. */
export async function readSource(source: string, options: ReadDataOptions = {}): Promise<ImageSource> {
  if (options.labelColumn !== undefined && findParquet(source).length === 0) refuseColumn(source, options.labelColumn);
  if (source === sampleName) return cifarSource('sample', sampleName, await openCifar(cifar10SampleFolder()));
  const shards = findShards(source);
  if (shards.length > 0) {
    refuseBoth(source);
    return readShards(source, shards);
  }
  const tables = findParquet(source);
  if (tables.length > 0) return readParquet(source, tables, options.labelColumn);
  const info = await stat(source).catch(() => undefined);
  if (info?.isFile()) refuseCompressed(source);
  if (info?.isFile()) return readImageList(source, options);
  if (!info?.isDirectory()) {
    throw new DeitError('file-unreadable', 'There is no data set at this path.', {
      where: source,
      expected: `a folder of images by class, a CIFAR folder, tar shards, Parquet files, a list file, or ${sampleName}`,
      fix: 'Check the path; `deit data cifar10` fetches CIFAR-10.',
    });
  }
  refuseCompressed(source);
  if (cifarKindOf(source)) return cifarSource('cifar', source, await openCifar(source));
  return readImageFolder(source, options);
}

function refuseColumn(source: string, column: string): never {
  throw new DeitError('bad-config', 'Only Parquet files have a column of labels.', {
    where: 'data.labelColumn',
    found: `${column}, for ${source}`,
    fix: 'Leave it out, or name Parquet files.',
  });
}

/** Images in a compressed archive cannot be read where they lie. Class folders may have the download beside them. */
function refuseCompressed(source: string): void {
  const [archive] = findFiles(source, /\.(tar\.\w+|t[gbx]z2?)$/i);
  if (archive === undefined || (archive !== source && foldersIn(source).length > 0)) return;
  throw new DeitError('bad-data', 'Shards are not read compressed: their images are read one by one, in any order.', {
    where: archive,
    expected: '.tar',
    fix: 'Unpack it first (gunzip, zstd -d, ...); images hardly become smaller by it.',
  });
}

/** Shards that stand beside folders may be what these were unpacked from. */
function refuseBoth(source: string): void {
  const [archive] = findShards(source);
  const folders = archive === source || source.includes('{') ? [] : foldersIn(source);
  if (folders.length === 0 || resolve(dirname(archive)) !== resolve(source)) return;
  throw new DeitError(
    'bad-data',
    'This folder holds tar archives and folders, and it cannot be told which are meant.',
    {
      where: source,
      found: `${basename(archive)}, and the folders ${someNames(folders)}`,
      fix: `Move one of them elsewhere, or name the archives: ${join(source, 'train-{000..127}.tar')}`,
    },
  );
}

const foldersIn = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name); // prettier-ignore

function cifarSource(kind: 'sample' | 'cifar', name: string, { train, val }: DatasetPair): ImageSource {
  const part = (label: string, dataset: Dataset): SourcePart => ({ label, dataset, problem: null });
  const parts = new Map([
    ['train', part('training batches', train)],
    ['val', part('test batch', val)],
  ] as const);
  return { kind, name, classes: train.classes, parts, notes: [], leftOut: '' };
}

/** The parts of a source; one without validation images is divided, if `division` says how. */
function partsOf(source: ImageSource, division: SplitOptions | undefined): ImageSource['parts'] {
  const { parts, classes } = source;
  const [all, whole] = [parts.get('train') ?? parts.get('all'), parts.get('all')];
  if (parts.has('val') || !all || !division) return parts;
  const { train, val } = divide(labelsOf(all.dataset), classes, division);
  const some = (split: Split, indices: Uint32Array): SourcePart => ({
    ...all,
    label: `${split === 'val' ? 'held out' : 'the rest'} of ${whole ? 'all' : all.label}`,
    dataset: new SubsetDataset(all.dataset, indices, split),
  });
  const test = parts.get('test');
  const made = new Map([
    ['train', some('train', train)],
    ['val', some('val', val)],
  ] as [Split, SourcePart][]);
  return test ? made.set('test', test) : made;
}

/**
 * Opens data for a training. Where the source has no validation images, some of its training images are held out by
 * `options`; its test images are left alone.
 */
export async function openData(path: string, options: OpenDataOptions = {}): Promise<OpenedData> {
  const source = await readSource(path, options);
  const { classes, kind } = source;
  const trained = source.parts.get('train') ?? source.parts.get('all');
  if (!trained) throw nothingToTrainOn(source);
  checkClasses(trained.dataset, trained.dataset.name, source.leftOut);
  if (source.parts.has('val') && options.folds != null) {
    throw new DeitError('bad-config', 'Data with validation images of its own is not divided into folds.', {
      where: 'data.folds',
      found: `${source.parts.get('val')!.label} in ${source.name}`,
      fix: 'Name the folder of training images alone as data.path, or leave data.folds out.',
    });
  }
  const parts = partsOf(source, options);
  const [train, val] = [usable(parts.get('train')!), usable(parts.get('val')!)];
  const split = source.parts.has('val') ? 'given' : 'drawn';
  const headline = `${source.name}, ${train.length} training and ${val.length} held-out images of ${describeClasses(classes)}`;
  const notes = [...describeParts(source, 'test'), ...(split === 'drawn' ? [describeDivision(options)] : [])];
  return { kind, train, val, split, notes: [headline, ...notes, ...account(source)] };
}

function describeDivision({ valFraction = 0.2, seed = 0, folds = null, fold = 1 }: SplitOptions): string {
  const part = folds === null ? `${valFraction} of every class` : `fold ${fold} of ${folds} of every class`;
  return `held out: ${part}, drawn by seed ${seed}`;
}

/**
 * Opens one part of some data to measure a model on: the one that is asked for; else that for validation, for test, or for
 * training, the first that there is; all images of a source that is not divided. With `division` a source without
 * validation images is divided as for a training.
 */
export async function openPart(
  path: string,
  asked: Split | undefined,
  options: ReadDataOptions & { division?: SplitOptions | undefined } = {},
): Promise<OpenedPart> {
  const source = await readSource(path, options);
  const { kind } = source;
  const parts = partsOf(source, options.division);
  // CIFAR's one held-out part is called its test batch.
  const split = asked === 'test' && (kind === 'sample' || kind === 'cifar') ? 'val' : asked;
  const order = split ? [split] : (['val', 'test', 'train', 'all'] as const);
  const part = order.map((name) => parts.get(name)).find((found) => found);
  if (!part) throw noSuchPart(source, split!);
  const dataset = usable(part);
  const isDrawn = parts !== source.parts && part !== parts.get('test');
  const headline = `${source.name}, ${describeClasses(source.classes)}`;
  const measured = `measured: ${part.label || 'all images'}, ${dataset.length} images`;
  const chosen = isDrawn ? 'drawn' : parts.has('all') ? 'whole' : 'given';
  return { kind, dataset, split: chosen, notes: [headline, ...describeParts(source), measured, ...account(source)] };
}

function usable({ dataset, problem }: SourcePart): Dataset {
  if (problem) throw problem;
  return dataset;
}

const describeClasses = (classes: readonly string[]): string =>
  `${classes.length} ${classes.length === 1 ? 'class' : 'classes'} (${someNames(classes)})`;

/** The parts of a source with their numbers of images; `unused` is the one that a training leaves alone. */
function describeParts({ parts }: ImageSource, unused?: Split): string[] {
  if (parts.has('all')) return [];
  const listed = [...parts].map(([split, { label, dataset }]) => {
    const fate = split === unused ? ' (not used; `deit evaluate --split test` measures on it)' : '';
    return `${label} ${dataset.length} images${fate}`;
  });
  return [`parts: ${listed.join(', ')}`];
}

const account = ({ notes, leftOut }: ImageSource): string[] => (leftOut ? [...notes, `left out: ${leftOut}`] : [...notes]); // prettier-ignore

function nothingToTrainOn({ name, parts }: ImageSource): DeitError {
  const labels = [...parts.values()].map(({ label }) => label);
  return new DeitError('bad-data', 'There are no training images here.', {
    where: name,
    expected: 'class folders, or a folder "train" of class folders',
    found: `${labels.join(' and ')} alone`,
    fix: `Name the folder itself if it is to be trained on: ${name.replace(/\/*$/, '')}/${labels[0]}`,
  });
}

function noSuchPart({ name, parts }: ImageSource, split: Split): DeitError {
  const labels = [...parts.values()].map(({ label }) => label);
  return new DeitError('bad-data', `There are no images for "${split}" here.`, {
    where: name,
    found: parts.has('all') ? 'images that are not divided into parts' : labels.join(', '),
    fix: 'Leave --split out, or name one of the parts that there are.',
  });
}
