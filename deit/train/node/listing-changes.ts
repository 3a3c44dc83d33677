/** What has changed between two listings of data, in words. */
import { basename, dirname } from 'node:path/posix';
import type { ListedLine } from '../../data/node/index.ts';

/** Examples of each kind of change. */
const SHOWN = 3;

interface ListedFile {
  readonly part: string;
  readonly label: number;
  readonly bytes: number | null;
  readonly name: string;
  /** In the listing. */
  readonly place: number;
}

interface Listing {
  classes: readonly string[];
  /** Images in files of their own, by part and name. */
  readonly files: Map<string, ListedFile>;
  /** Images in memory, by part. */
  readonly inMemory: Map<string, { readonly images: number; readonly sha256: string }>;
}

/** A text in pieces, cut anywhere. */
type Pieces = AsyncIterable<string> | Iterable<string>;

/** Compares two listings: a text for each kind of change, none where there is no change. Throws where one cannot be read. */
export async function listingChanges(before: Pieces, now: Pieces): Promise<string[]> {
  const [was, is] = [await parseListing(before), await parseListing(now)];
  return [...classChanges(was.classes, is.classes), ...memoryChanges(was, is), ...fileChanges(was.files, is.files)];
}

async function parseListing(pieces: Pieces): Promise<Listing> {
  const listing: Listing = { classes: [], files: new Map(), inMemory: new Map() };
  const { files, inMemory } = listing;
  for await (const text of linesOf(pieces)) {
    const line = JSON.parse(text) as ListedLine;
    if (line[0] === 'classes') listing.classes = line.slice(1);
    else if (line.length === 3) inMemory.set(line[0], { images: line[1], sha256: line[2] });
    else {
      const [part, label, bytes, name] = line as readonly [string, number, number | null, string];
      files.set(`${part}/${name}`, { part, label, bytes, name, place: files.size });
    }
  }
  return listing;
}

async function* linesOf(pieces: Pieces): AsyncGenerator<string> {
  let rest = '';
  for await (const piece of pieces) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
}

function classChanges(was: readonly string[], is: readonly string[]): string[] {
  if (was.length !== is.length) return [`classes: ${was.length} before, ${is.length} now`];
  return told(
    'class',
    'of another name',
    is.flatMap((name, i) => (name === was[i] ? [] : [`"${name}" where "${was[i]}" was`])),
  );
}

function memoryChanges({ inMemory: was }: Listing, { inMemory: is }: Listing): string[] {
  const parts = [...new Set([...was.keys(), ...is.keys()])];
  return parts.flatMap((part) => {
    const [before, now] = [was.get(part), is.get(part)];
    if (before?.sha256 === now?.sha256) return [];
    const isOther = before !== undefined && before.images === now?.images;
    return [
      isOther
        ? `${part}: ${before.images} images with other pixels or labels`
        : `${part}: ${before?.images ?? 'no'} images in binary files before, ${now?.images ?? 'none'} now`,
    ];
  });
}

function fileChanges(was: Listing['files'], is: Listing['files']): string[] {
  const gone = new Set([...was].flatMap(([key, file]) => (is.has(key) ? [] : [file])));
  const come = new Set([...is].flatMap(([key, file]) => (was.has(key) ? [] : [file])));
  const arrow = ([a, b]: Pair): string => `${a.name} is ${b.name}`;
  const moved = pairUp(gone, come, ({ name }) => name);
  const renamed = [
    ...pairUp(gone, come, ({ name, bytes }) => `${basename(name)} ${bytes}`),
    ...pairUp(gone, come, ({ name, bytes }) => `${dirname(name)} ${bytes}`),
  ];
  const kept = [...was].flatMap(([key, file]): Pair[] => {
    const now = is.get(key);
    return now ? [[file, now]] : [];
  });
  const resized = kept.filter(([a, b]) => a.bytes !== b.bytes);
  const relabelled = [...kept, ...moved].filter(([a, b]) => a.label !== b.label);
  const changes = [
    ...told('image', 'removed', [...gone].map(({ name }) => name)), // prettier-ignore
    ...told('image', 'added', [...come].map(({ name }) => name)), // prettier-ignore
    ...told('image', 'renamed', renamed.map(arrow)),
    ...told(
      'image',
      'of another size',
      resized.map(([a, b]) => `${a.name}: ${sized(a)} before, ${sized(b)} now`),
    ),
    ...told('image', 'of another class', relabelled.map(([a, b]) => `${a.name}: class ${a.label} before, ${b.label} now`)), // prettier-ignore
    ...told(
      'image',
      'in another part',
      moved.map(([a, b]) => `${a.name}: ${a.part} before, ${b.part} now`),
    ),
  ];
  if (changes.length > 0) return changes;
  const isInOrder = kept.every(([, { place }], i) => i === 0 || place > kept[i - 1][1].place);
  return isInOrder ? [] : ['the images are in another order'];
}

type Pair = readonly [before: ListedFile, now: ListedFile];

/** Pairs those of both sides that have the same key, in order, and takes them out. */
function pairUp(gone: Set<ListedFile>, come: Set<ListedFile>, keyOf: (file: ListedFile) => string): Pair[] {
  const waiting = new Map<string, ListedFile[]>();
  for (const file of gone) {
    const key = keyOf(file);
    const list = waiting.get(key);
    if (list) list.push(file);
    else waiting.set(key, [file]);
  }
  for (const list of waiting.values()) list.reverse();
  const pairs: Pair[] = [];
  for (const file of come) {
    const before = waiting.get(keyOf(file))?.pop();
    if (!before) continue;
    pairs.push([before, file]);
    gone.delete(before);
    come.delete(file);
  }
  return pairs;
}

const sized = ({ bytes }: ListedFile): string => (bytes === null ? 'not found' : `${bytes} bytes`);

/** "3 images removed (a.jpg, b.jpg, c.jpg)"; nothing where there are none. */
function told(noun: 'image' | 'class', what: string, examples: readonly string[]): string[] {
  const { length } = examples;
  if (length === 0) return [];
  const count = length === 1 ? `1 ${noun}` : `${length} ${noun === 'class' ? 'classes' : `${noun}s`}`;
  return [`${count} ${what} (${examples.slice(0, SHOWN).join('; ')}${length > SHOWN ? '; ...' : ''})`];
}
