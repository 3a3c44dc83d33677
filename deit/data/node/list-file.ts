/**
 * List files: one image a line, `path<TAB>label`; paths are relative to the folder of the list (or to `root`) and must stay
 * inside it. Blank lines and lines that begin with `#` are passed over. Node only.
 */
import { createReadStream } from 'node:fs';
import { basename, dirname, isAbsolute, join, normalize, relative, resolve, sep } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import type { Split } from '../dataset.ts';
import { FileDataset } from './file-dataset.ts';
import { someNames, sortNames } from './file-names.ts';
import type { ImageSource, SourcePart } from './image-source.ts';
import type { LinkPolicy } from './scan.ts';

export interface ListOptions {
  /** Folder that paths are relative to. Default: the folder of the list. */
  root?: string;
  /** A list of held-out images. */
  valFile?: string;
  /** What to do with links that lead out of the folder: follow them (default), or refuse them when they are read. */
  links?: LinkPolicy;
}

/** What a list says: images and their labels, each image once. */
export interface ImageList {
  /** Relative, normalised. */
  readonly paths: string[];
  readonly labels: string[];
  /** Lines that say again what an earlier line says, and the first of them. */
  readonly repeated: number;
  readonly firstRepeated: string;
}

/**
 * Reads a list of labelled images. Labels may be names or whole numbers; classes are the labels of the (train) list, numbers
 * in numerical order, names in the order of their characters. Whether the files exist is seen when they are read.
 */
export async function readImageList(file: string, options: ListOptions = {}): Promise<ImageSource> {
  const root = resolve(options.root ?? dirname(file));
  const list = await readList(file, root);
  const classes = sortLabels([...new Set(list.labels)]);
  const labelOf = new Map(classes.map((name, label) => [name, label]));
  const notes = [...notesOf(file, list), ...numbersAsNames(classes)];
  const part = (from: string, split: Split, { paths, labels }: ImageList): SourcePart => {
    const numbers = Uint32Array.from(labels, (label) => labelOf.get(label) ?? 0);
    const table = { labels: numbers, path: (index: number) => join(root, paths[index]) };
    const source = { name: file, base: root, split, classes, root: options.links === 'inside' ? root : undefined };
    const unknown = labels.find((label) => !labelOf.has(label));
    return {
      label: basename(from),
      dataset: new FileDataset(source, table),
      problem: unknown === undefined ? null : unknownLabel(from, unknown, classes),
    };
  };
  const source = { kind: 'list', name: file, classes, leftOut: '' } as const;
  if (options.valFile === undefined) {
    return { ...source, parts: new Map([['all', { ...part(file, 'train', list), label: '' }]]), notes };
  }
  const heldOut = await readList(options.valFile, root);
  const trained = new Set(list.paths);
  const both = heldOut.paths.filter((path) => trained.has(path));
  notes.push(...notesOf(options.valFile, heldOut));
  if (both.length > 0) notes.push(`${both.length} images are in both lists, so what is measured on them is no held-out figure: ${someNames(both.slice(0, 3))}`); // prettier-ignore
  const parts = new Map([
    ['train', part(file, 'train', list)],
    ['val', part(options.valFile, 'val', heldOut)],
  ] as const);
  return { ...source, parts, notes };
}

const unknownLabel = (where: string, label: string, classes: readonly string[]): DeitError =>
  new DeitError('bad-data', 'Held-out images belong to a class that train lacks.', {
    where,
    expected: `one of ${classes.length} labels: ${someNames(classes)}`,
    found: label,
    fix: 'Correct the label, or add the class to the train list.',
  });

const notesOf = (file: string, { repeated, firstRepeated }: ImageList): string[] =>
  repeated === 0 ? [] : [`${basename(file)} names ${repeated} images twice, which are taken once (for example ${firstRepeated})`]; // prettier-ignore

const isNumber = (label: string): boolean => /^-?\d{1,9}$/.test(label);

function sortLabels(labels: string[]): string[] {
  sortNames(labels);
  return labels.every(isNumber) ? labels.sort((a, b) => Number(a) - Number(b)) : labels;
}

/** Says that numbers with gaps are names of classes, not their numbers. */
function numbersAsNames(classes: readonly string[]): string[] {
  if (!classes.every(isNumber)) return [];
  const at = classes.findIndex((name, i) => name !== String(i));
  return at < 0 ? [] : [`labels are the names of classes, which are numbered in their order: class ${at} is "${classes[at]}"`]; // prettier-ignore
}

async function readList(file: string, root: string): Promise<ImageList> {
  const parser = new ListParser(file, root);
  try {
    // Piece by piece: the list of a large data set is longer than a string may be. A byte order mark is passed over.
    const decoder = new TextDecoder('utf-8', { fatal: true });
    for await (const piece of createReadStream(file)) parser.add(decoder.decode(piece as Buffer, { stream: true }));
    parser.add(decoder.decode());
  } catch (cause) {
    if (cause instanceof DeitError) throw cause;
    const isText = !(cause instanceof TypeError);
    throw new DeitError(isText ? 'file-unreadable' : 'file-corrupt', 'A list of images cannot be read.', {
      where: file,
      expected: 'a UTF-8 text file with lines path<TAB>label',
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
  return parser.end();
}

/** The lines of a list. Throws, naming file and line, on a line of another form or a path that leaves the folder `root`. */
export function parseList(text: string, file: string, root = dirname(resolve(file))): ImageList {
  const parser = new ListParser(file, root);
  parser.add(text);
  return parser.end();
}

class ListParser {
  private readonly paths: string[] = [];
  private readonly labels: string[] = [];
  /** Where each path is in the list. */
  private readonly places = new Map<string, number>();
  private repeated = 0;
  private firstRepeated = '';
  private lines = 0;
  private rest = '';

  constructor(
    private readonly file: string,
    private readonly root: string,
  ) {}

  add(piece: string): void {
    const lines = (this.rest + piece).split('\n');
    this.rest = lines.pop()!;
    for (const line of lines) this.line(line);
  }

  end(): ImageList {
    this.line(this.rest);
    const { paths, labels, repeated, firstRepeated } = this;
    if (paths.length > 0) return { paths, labels, repeated, firstRepeated };
    throw new DeitError('bad-data', 'The list names no images.', {
      where: this.file,
      expected: 'lines path<TAB>label',
    });
  }

  private line(text: string): void {
    this.lines++;
    if (text.trim() === '' || text.startsWith('#')) return;
    const where = `${this.file}, line ${this.lines}`;
    const fields = text.split('\t').map((field) => field.trim());
    if (fields.length !== 2 || fields.includes('')) {
      throw new DeitError('file-corrupt', 'A line of the list is not a path, a tab and a label.', {
        where,
        expected: 'path<TAB>label',
        found: JSON.stringify(text.slice(0, 200)),
      });
    }
    const path = pathInside(fields[0], this.root, where);
    const label = fields[1].normalize();
    const place = this.places.get(path);
    if (place === undefined) {
      this.places.set(path, this.paths.push(path) - 1);
      this.labels.push(label);
      return;
    }
    if (this.labels[place] !== label) {
      throw new DeitError('bad-data', 'The list names an image twice, with different labels.', {
        where,
        found: `${path} as "${this.labels[place]}" before, and as "${label}" here`,
        fix: 'Remove the line that is wrong.',
      });
    }
    if (this.repeated++ === 0) this.firstRepeated = path;
  }
}

/** A path of a list, relative to `root` and normalised. */
function pathInside(path: string, root: string, where: string): string {
  // Windows separators and drives are refused everywhere, so that a list means the same on every system.
  const isForeign = path.includes('\\') || /^[A-Za-z]:/.test(path) || path.includes('\0');
  const way = isAbsolute(path) ? relative(root, path) : normalize(path);
  if (!isForeign && !isAbsolute(way) && way.split(sep)[0] !== '..') return way;
  throw new DeitError('bad-data', 'A path in the list leaves the folder of the data set.', {
    where,
    expected: `a path in ${root}, with forward slashes, without a way out of it`,
    found: JSON.stringify(path.slice(0, 200)),
    fix: 'Make the path relative to the list, or name the folder that holds the images with data.root.',
  });
}
