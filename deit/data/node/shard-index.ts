/**
 * What a tar shard holds: its images, where they lie, and their labels. Worked out from the headers once and kept in the user's
 * cache, for a large set has millions of them; a shard whose size or time of change is another is listed anew. Node only.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import * as v from 'valibot';
import { DeitError } from '../../../engine/index.ts';
import { writeFileAtomically } from '../../../engine/node.ts';
import { cacheFolder } from '../../../engine/node/package.ts';
import type { FileRange } from '../dataset.ts';
import { isImageName, otherFormatOf } from './file-names.ts';
import { LeftOut } from './left-out.ts';
import { listTar, readRange } from './tar.ts';
import type { TarListing, TarMember } from './tar.ts';

const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** Columns with a row an image, as a kept index has them. */
const contentSchema = v.object({
  size: natural,
  changed: v.number(),
  /** Names of the members, which have no NUL, with one between any two. */
  names: v.string(),
  offsets: v.array(natural),
  bytes: v.array(natural),
  /** The labels that there are, and which one an image has; -1: the folder that it is in. */
  labels: v.array(v.string()),
  label: v.array(v.pipe(v.number(), v.integer(), v.minValue(-1))),
  leftOut: v.array(v.tuple([v.string(), v.string(), v.string(), natural])),
});
type Content = v.InferOutput<typeof contentSchema>;

/** The images of a shard, in its order. Some sixty bytes an image. */
export class ShardIndex {
  readonly length: number;
  readonly leftOut: Content['leftOut'];
  private readonly names: string;
  /** Where each name begins, and one more. */
  private readonly starts: Uint32Array;
  private readonly offsets: Float64Array;
  private readonly bytes: Float64Array;
  private readonly label: Int32Array;
  private readonly labels: readonly string[];
  private readonly size: number;
  private readonly changed: number;

  constructor(
    readonly file: string,
    content: Content,
  ) {
    ({
      size: this.size,
      changed: this.changed,
      names: this.names,
      labels: this.labels,
      leftOut: this.leftOut,
    } = content);
    this.length = content.offsets.length;
    this.offsets = Float64Array.from(content.offsets);
    this.bytes = Float64Array.from(content.bytes);
    this.label = Int32Array.from(content.label);
    this.starts = new Uint32Array(this.length + 1);
    for (let i = 1; i < this.length; i++) this.starts[i] = this.names.indexOf('\0', this.starts[i - 1]) + 1;
    this.starts[this.length] = this.names.length + 1;
  }

  nameOf(image: number): string {
    return this.names.slice(this.starts[image], this.starts[image + 1] - 1);
  }

  /** As written for the image; null: the folder that it is in. */
  labelOf(image: number): string | null {
    return this.label[image] < 0 ? null : this.labels[this.label[image]];
  }

  rangeOf(image: number): FileRange {
    const { file, size, changed } = this;
    return { file, size, changed, offset: this.offsets[image], bytes: this.bytes[image] };
  }
}

/** The index of a shard: the `kept` one; else a `new` one, which is kept from now on, also where the shard has `changed`. */
export async function indexShard(file: string): Promise<{ index: ShardIndex; from: 'kept' | 'new' | 'changed' }> {
  const key = createHash('sha256').update(resolve(file)).digest('hex').slice(0, 32);
  const path = join(cacheFolder(), 'shards', `${key}.json`);
  const kept = readKept(path);
  const now = statSync(file, { throwIfNoEntry: false });
  if (kept && kept.size === now?.size && kept.changed === now.mtimeMs) return { index: new ShardIndex(file, kept), from: 'kept' }; // prettier-ignore
  const content = contentOf(listTar(file));
  // Without a place to keep it the next run lists the shard again.
  await mkdir(dirname(path), { recursive: true })
    .then(() => writeFileAtomically(path, [Buffer.from(JSON.stringify(content))]))
    .catch(() => undefined);
  return { index: new ShardIndex(file, content), from: kept ? 'changed' : 'new' };
}

/** Null where there is none, or one that is damaged. */
function readKept(path: string): Content | null {
  try {
    const content = v.parse(contentSchema, JSON.parse(readFileSync(path, 'utf8')));
    const { size, names, offsets, bytes, labels, label } = content;
    const count = offsets.length === 0 ? 0 : names.split('\0').length;
    const isWhole = [bytes, label].every(({ length }) => length === offsets.length) && count === offsets.length;
    const isInside = offsets.every((offset, i) => offset + bytes[i] <= size) && label.every((at) => at < labels.length);
    return isWhole && isInside ? content : null;
  } catch {
    return null;
  }
}

function contentOf(listing: TarListing): Content {
  const { file, size, changed, members, others } = listing;
  const leftOut = new LeftOut();
  for (const name of others) leftOut.add('link or special file', 'in a shard', name);
  const seen = new Set<string>();
  const images: TarMember[] = [];
  const beside: TarMember[] = [];
  for (const member of members) {
    const { name } = member;
    if (seen.has(name)) throw twice(file, name);
    seen.add(name);
    if (basename(name).startsWith('.')) leftOut.add('hidden file', 'in a shard', name);
    else if (isImageName(name)) images.push(member);
    else if (/\.(cls|json)$/i.test(name)) beside.push(member);
    else if (!/\.(txt|__key__)$/i.test(name)) leftOut.add('file', `in a shard in ${otherFormatOf(name) ?? 'no image'} format`, name); // prettier-ignore
  }
  const find = new Labels(listing, beside);
  const numbers = new Map<string, number>();
  const label = images.map((image) => {
    const text = find.of(image);
    if (text === null) return -1;
    return numbers.get(text) ?? (numbers.set(text, numbers.size), numbers.size - 1);
  });
  for (const name of find.untaken()) leftOut.add('label', 'without an image, in a shard', name);
  return {
    size,
    changed,
    names: images.map(({ name }) => name).join('\0'),
    offsets: images.map(({ offset }) => offset),
    bytes: images.map(({ bytes }) => bytes),
    labels: [...numbers.keys()],
    label,
    leftOut: leftOut.entries(),
  };
}

/** What the members of one sample have in common: all before the first dot of the file's name. */
const keyOf = (name: string): string => join(dirname(name), basename(name).split('.')[0]);

/** The name without its last ending: others than WebDataset write samples whose keys have dots. */
const stemOf = (name: string): string => join(dirname(name), basename(name).replace(/\.[^.]*$/, ''));

/** Which .cls or .json an image's label is in. */
class Labels {
  private readonly byStem = new Map<string, TarMember>();
  private readonly byKey = new Map<string, TarMember[]>();
  /** The image that has taken a member for its label. */
  private readonly taken = new Map<TarMember, TarMember>();

  constructor(
    private readonly listing: TarListing,
    members: readonly TarMember[],
  ) {
    // A .cls goes before a .json, which often says other things.
    const isJson = ({ name }: TarMember): boolean => /\.json$/i.test(name);
    for (const member of [...members.filter(isJson), ...members.filter((one) => !isJson(one))]) {
      this.byStem.set(stemOf(member.name), member);
      const key = keyOf(member.name);
      const own = this.byKey.get(key)?.filter((one) => isJson(one) === isJson(member)) ?? [];
      this.byKey.set(key, [...own, member]);
    }
  }

  /** Null where it is the folder that says it. */
  of(image: TarMember): string | null {
    const { name } = image;
    const [own, ...others] = this.byKey.get(keyOf(name)) ?? [];
    const member = this.byStem.get(stemOf(name)) ?? (others.length === 0 ? own : undefined);
    const text = member && this.read(member);
    if (member && text) {
      const other = this.taken.get(member);
      if (other) throw twoImages(this.listing.file, other.name, name, member.name);
      this.taken.set(member, image);
      return text.normalize();
    }
    const isWritten = member !== undefined && /\.cls$/i.test(member.name);
    if (!isWritten && others.length === 0 && foldersOf(name).length > 0) return null;
    throw noLabel(this.listing.file, name, member?.name ?? (others.length > 0 ? `${1 + others.length} of other names` : null)); // prettier-ignore
  }

  /** Names of the .cls members that no image has. */
  untaken(): string[] {
    const members = [...this.byStem.values()].filter((member) => !this.taken.has(member));
    return members.map(({ name }) => name).filter((name) => /\.cls$/i.test(name));
  }

  /** The label in a member; null for none. */
  private read(member: TarMember): string | null {
    const isClass = /\.cls$/i.test(member.name);
    if (member.bytes > (isClass ? 1024 : 2 ** 20)) return null;
    const text = new TextDecoder().decode(readRange({ ...this.listing, ...member }, member.name)).trim();
    if (isClass) return text;
    try {
      const content = JSON.parse(text) as Record<string, unknown> | null;
      const found = ['label', 'cls', 'class'].map((key) => content?.[key]).find((value) => typeof value === 'string' || typeof value === 'number'); // prettier-ignore
      return found === undefined ? null : String(found).trim();
    } catch {
      return null;
    }
  }
}

/** The folders of a member's name, from the outermost. */
export const foldersOf = (name: string): string[] =>
  name.split('/').slice(0, -1).filter((folder) => folder !== '' && folder !== '.').map((folder) => folder.normalize()); // prettier-ignore

const twice = (file: string, name: string): DeitError =>
  new DeitError('bad-data', 'A shard has two members of the same name.', {
    where: file,
    found: name,
    fix: 'Make the shard again, with a name for each image.',
  });

const twoImages = (file: string, first: string, second: string, label: string): DeitError =>
  new DeitError('bad-data', 'A sample of a shard has two images, and it cannot be told which is meant.', {
    where: file,
    expected: `one image for ${label}`,
    found: `${first} and ${second}`,
    fix: 'Write shards with one image a sample: what comes before the first dot of a name is the sample.',
  });

const noLabel = (file: string, image: string, found: string | null): DeitError =>
  new DeitError('bad-data', 'An image in a shard has no label.', {
    where: `${image} in ${file}`,
    expected: `a member ${stemOf(image)}.cls that holds its class, "label" in ${stemOf(image)}.json, or a folder that is named for it`,
    found: found === null ? 'none of them' : `${found}, which has no label for it`,
    fix: '`deit data pack` makes such shards from folders.',
  });
