/** Node only: safetensors files and sets of shards on disk. */
import { open, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { DeitError } from '../../kernels/lib/errors.ts';
import { parseStrictJson } from '../json.ts';
import { LENGTH_BYTES, cutTensors, headerLength, parseHeader, safetensorsPieces } from '../safetensors.ts';
import type { Safetensors, SafetensorsHeader, StoredTensor } from '../safetensors.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { DataChecksum, hasChecksums, verifyChecksums, withChecksums, withoutChecksums } from './checksums.ts';

/** The names that the Hugging Face libraries give to a whole checkpoint and to the index of a sharded one. */
const WHOLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
/** A pickle of PyTorch starts like this (zip archive, or pickle protocol 2 and later). */
const PICKLES = [
  [0x50, 0x4b, 0x03, 0x04],
  [0x80, 0x02],
];

const unreadable = (path: string, cause: unknown): DeitError =>
  cause instanceof DeitError
    ? cause
    : new DeitError('file-unreadable', 'The file is missing or cannot be read.', {
        where: path,
        found: cause instanceof Error ? cause.message : String(cause),
        cause,
      });

/** Looks at the header of a file before its data is read, and throws where it is not wanted. */
export type HeaderCheck = (header: SafetensorsHeader) => void;

/**
 * Reads one file; the tensors are views of one buffer. Checksums that the file carries are verified, and left out of its
 * metadata. Throws `file-unreadable`, `file-corrupt`, or what `check` throws.
 */
export const readSafetensorsFile = (path: string, check?: HeaderCheck): Promise<Safetensors> =>
  withHeader(path, async (file, header, { start, length }) => {
    check?.(header);
    const checksum = hasChecksums(header.metadata) ? new DataChecksum() : null;
    const data = await readFully(file, start, length, checksum);
    if (checksum) verifyChecksums(header.metadata, header.entries, checksum.digest(), path);
    return cutTensors({ ...header, metadata: withoutChecksums(header.metadata) }, data);
  });

/** What one file holds, without its data. Throws `file-unreadable` or `file-corrupt`. */
export const readSafetensorsHeader = (path: string): Promise<SafetensorsHeader> =>
  withHeader(path, (_, header) => Promise.resolve(header));

type OpenFile = Awaited<ReturnType<typeof open>>;

/** Opens a file, reads its header, and hands both to `use`, with where the data begins and how long it is. */
async function withHeader<Result>(
  path: string,
  use: (file: OpenFile, header: SafetensorsHeader, data: { start: number; length: number }) => Promise<Result>,
): Promise<Result> {
  const file = await open(path, 'r').catch((cause: unknown) => Promise.reject(unreadable(path, cause)));
  try {
    const fileBytes = (await file.stat()).size;
    const begin = await readFully(file, 0, Math.min(LENGTH_BYTES, fileBytes));
    const pickle = PICKLES.some((magic) => magic.every((byte, i) => begin[i] === byte));
    if (pickle) {
      throw new DeitError('file-corrupt', 'This is a PyTorch pickle, which can run code and is not read.', {
        where: path,
        fix: 'convert it in Python: safetensors.torch.save_file(torch.load(path, weights_only=True)["model"], out)',
      });
    }
    const start = LENGTH_BYTES + headerLength(begin, fileBytes, path);
    const length = fileBytes - start;
    const header = parseHeader(await readFully(file, LENGTH_BYTES, start - LENGTH_BYTES), length, path);
    return await use(file, header, { start, length });
  } catch (cause) {
    throw unreadable(path, cause);
  } finally {
    await file.close();
  }
}

/** Bytes that are read, and summed, at a time. */
const CHUNK = 2 ** 24;

async function readFully(file: OpenFile, position: number, length: number, checksum: DataChecksum | null = null) {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const { bytesRead } = await file.read(bytes, at, Math.min(length - at, CHUNK), position + at);
    if (bytesRead === 0) throw new Error(`the file ended ${length - at} bytes early`);
    checksum?.add(bytes.subarray(at, at + bytesRead));
    at += bytesRead;
  }
  return bytes;
}

/**
 * Reads a checkpoint: a .safetensors file, the index of several shards (`*.index.json`), or a folder that holds
 * `model.safetensors` or its index. Every problem of an index is listed in one `file-corrupt`. `check` sees the header of each
 * file before its data is read.
 */
export async function readSafetensors(path: string, check?: HeaderCheck): Promise<Safetensors> {
  const found = await stat(path).catch((cause: unknown) => Promise.reject(unreadable(path, cause)));
  if (found.isDirectory()) {
    const index = join(path, INDEX);
    return (await exists(index)) ? readShards(index, check) : readSafetensorsFile(join(path, WHOLE), check);
  }
  return path.endsWith('.json') ? readShards(path, check) : readSafetensorsFile(path, check);
}

const exists = async (path: string): Promise<boolean> => (await stat(path).catch(() => null)) !== null;

async function readShards(indexPath: string, check?: HeaderCheck): Promise<Safetensors> {
  const weightMap = parseIndex(await readFile(indexPath), indexPath);
  const folder = dirname(indexPath);
  const problems: string[] = [];
  const all: Safetensors = { tensors: new Map<string, StoredTensor>(), metadata: new Map() };
  for (const shard of new Set(weightMap.values())) {
    const path = join(folder, shard);
    if (shard !== basename(shard) || shard === '..' || /[\\/]/.test(shard) || !(await liesIn(folder, path))) {
      problems.push(`${JSON.stringify(shard)} is not a file in the folder of the index`);
      continue;
    }
    const content = await readSafetensorsFile(path, check);
    for (const [key, value] of content.metadata) all.metadata.set(key, value);
    for (const [name, tensor] of content.tensors) {
      if (weightMap.get(name) === shard) all.tensors.set(name, tensor);
      else problems.push(`${shard} holds ${JSON.stringify(name)}, which the index does not place there`);
    }
  }
  for (const [name, shard] of weightMap) {
    if (!all.tensors.has(name)) problems.push(`${JSON.stringify(name)} is not in ${JSON.stringify(shard)}`);
  }
  if (problems.length === 0) return all;
  throw new DeitError('file-corrupt', 'The index and its shards do not agree.', {
    where: indexPath,
    found: problems.slice(0, 40).join('\n    '),
  });
}

/** Whether `path`, links followed, is a file of `folder` itself. A missing file is reported when it is read. */
async function liesIn(folder: string, path: string): Promise<boolean> {
  const target = await realpath(path).catch(() => null);
  return target === null || dirname(target) === (await realpath(folder));
}

function parseIndex(content: Uint8Array, where: string): Map<string, string> {
  const root = parseStrictJson(content, where, { maxDepth: 4 });
  const map = root instanceof Map ? root.get('weight_map') : undefined;
  if (!(map instanceof Map) || map.size === 0 || ![...map.values()].every((shard) => typeof shard === 'string')) {
    throw new DeitError('file-corrupt', 'This is not the index of a sharded safetensors checkpoint.', {
      where,
      expected: '"weight_map": {tensor name: file name}',
    });
  }
  return map as Map<string, string>;
}

/** Writes one file atomically, with checksums of its data and metadata. Throws `file-unwritable`. */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Promise<void> {
  const checksum = new DataChecksum();
  const [, ...data] = safetensorsPieces(tensors, metadata);
  for (const piece of data) checksum.add(piece);
  const described = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const sums = withChecksums(metadata, described, checksum.digest());
  await writeFileAtomically(path, safetensorsPieces(tensors, sums));
}
