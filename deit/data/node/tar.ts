/**
 * What a tar archive holds and where, from its headers alone: the data between them are passed over, so that an archive of many
 * gigabytes is listed in a moment. POSIX ustar and pax, and GNU's long names (source: POSIX.1-2017, pax). Node only.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import type { Pack } from 'tar-stream';
import { DeitError } from '../../../engine/index.ts';
import type { FileRange } from '../dataset.ts';
import { checkFileBytes } from '../image-limits.ts';
import { readAt } from './read-at.ts';

export interface TarMember extends Pick<FileRange, 'offset' | 'bytes'> {
  readonly name: string;
}

export interface TarListing extends Pick<FileRange, 'file' | 'size' | 'changed'> {
  /** Ordinary files, in their order. */
  readonly members: readonly TarMember[];
  /** Names of links, devices and files with holes, of which nothing is read. */
  readonly others: readonly string[];
}

const BLOCK = 512;
/** Headers of long names: more is no name. */
const MAX_HEADER_DATA = 2 ** 20;

/** Lists an archive, or one that is a member of another (`within`). Throws `file-unreadable`, or `file-corrupt` if it is cut short or no tar. */
export function listTar(file: string, within?: TarMember): TarListing {
  const handle = open(file);
  try {
    const { size: fileSize, mtimeMs } = fstatSync(handle);
    const begin = within?.offset ?? 0;
    const size = within ? within.offset + within.bytes : fileSize;
    const members: TarMember[] = [];
    const others: string[] = [];
    let [longName, pax] = ['', new Map<string, string>()];
    let at = begin;
    for (;;) {
      // An archive ends with blocks of zeros: one without has lost members, even if it ends between two.
      if (at + BLOCK > size)
        throw at === begin ? noTar(file, begin, `${size - begin} bytes`) : cutShort(file, 'the end', at + BLOCK, size);
      const header = readAt(handle, at, BLOCK);
      if (header.every((byte) => byte === 0)) break;
      checkSum(header, file, at);
      const type = String.fromCharCode(header[156]);
      const bytes = type !== 'x' && pax.has('size') ? Number(pax.get('size')) : numberOf(header.subarray(124, 136));
      const offset = at + BLOCK;
      const name = pax.get('path') ?? (longName || nameOf(header));
      if (!Number.isSafeInteger(bytes) || bytes < 0 || offset + bytes > size) throw cutShort(file, name, offset + bytes, size); // prettier-ignore
      at = offset + Math.ceil(bytes / BLOCK) * BLOCK;
      if (type === 'x' || type === 'L') {
        if (bytes > MAX_HEADER_DATA) throw noTar(file, offset, 'a name of more than a megabyte');
        const data = readAt(handle, offset, bytes);
        if (type === 'x') pax = paxRecords(data);
        else longName = text(data);
        continue;
      }
      if (type === '0' || type === '\0' || type === '7') members.push({ name, offset, bytes });
      else if (!'gK5'.includes(type)) others.push(name);
      if (!'gK'.includes(type)) [longName, pax] = ['', new Map<string, string>()];
    }
    return { file, size: fileSize, changed: mtimeMs, members, others };
  } finally {
    closeSync(handle);
  }
}

/** The bytes of a range. Throws `bad-data` if the file has changed since the range was found. */
export function readRange({ file, offset, bytes, size, changed }: FileRange, name: string): Uint8Array {
  checkFileBytes(name, bytes);
  const handle = open(file);
  try {
    const now = fstatSync(handle);
    if (now.size !== size || now.mtimeMs !== changed) {
      throw new DeitError('bad-data', 'A shard has changed since its images were listed.', {
        where: name,
        expected: `${file} of ${size} bytes, changed ${new Date(changed).toISOString()}`,
        found: `${now.size} bytes, changed ${now.mtime.toISOString()}`,
        fix: 'Begin again; leave shards alone while they are in use.',
      });
    }
    return readAt(handle, offset, bytes);
  } finally {
    closeSync(handle);
  }
}

/** Adds a member of a fixed date and owner, so that the same images make the same shards. */
export const addMember = (archive: Pack, name: string, bytes: Uint8Array): Promise<void> =>
  new Promise((done, failed) => {
    archive.entry({ name, mtime: new Date(0) }, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), (error) => (error ? failed(error) : done())); // prettier-ignore
  });

function open(file: string): number {
  try {
    return openSync(file, 'r');
  } catch (cause) {
    throw new DeitError('file-unreadable', 'A shard cannot be read.', {
      where: file,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'Check that the file exists and may be read.',
      cause,
    });
  }
}

const text = (bytes: Buffer): string => bytes.toString('utf8').replace(/\0[^]*$/, '');

function nameOf(header: Buffer): string {
  const [name, prefix] = [text(header.subarray(0, 100)), text(header.subarray(345, 500))];
  return header.toString('latin1', 257, 262) === 'ustar' && prefix !== '' ? `${prefix}/${name}` : name;
}

/** Octal digits, or GNU's binary form of sizes from 8 GB on. */
function numberOf(field: Buffer): number {
  if (field[0] & 0x80) return Number(BigInt(`0x${field.toString('hex')}`) & ((1n << 88n) - 1n));
  const digits = text(field).trim();
  return /^[0-7]+$/.test(digits) ? parseInt(digits, 8) : digits === '' ? 0 : NaN;
}

/** The sum of a header's bytes, with blanks for the sum itself. */
function checkSum(header: Buffer, file: string, at: number): void {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i];
  if (numberOf(header.subarray(148, 156)) !== sum) throw noTar(file, at, 'a header whose sum is wrong');
}

/** Records "LENGTH KEY=VALUE\n", the length counting all of itself. */
function paxRecords(data: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < data.length;) {
    const blank = data.indexOf(32, at);
    const length = Number(data.toString('latin1', at, blank));
    if (blank < 0 || !Number.isInteger(length) || length < 5) break;
    const [key, ...value] = data.toString('utf8', blank + 1, at + length - 1).split('=');
    records.set(key, value.join('='));
    at += length;
  }
  return records;
}

const noTar = (file: string, at: number, found: string): DeitError =>
  new DeitError('file-corrupt', 'A shard is no tar archive, or is damaged.', {
    where: `${file}, byte ${at}`,
    expected: 'the header of a member',
    found,
    fix: 'Fetch or make the shard again. Compressed archives (.tar.gz) are to be unpacked first.',
  });

const cutShort = (file: string, name: string, needed: number, size: number): DeitError =>
  new DeitError('file-corrupt', 'A shard is cut short.', {
    where: `${name} in ${file}`,
    expected: `${needed} bytes or more`,
    found: `${size} bytes`,
    fix: 'Fetch or make the shard again.',
  });
