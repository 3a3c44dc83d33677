/**
 * An optional cache on disk of decoded images, reduced so that the shorter side has a chosen size: epochs after the first
 * neither decode nor shrink large photos. Reducing first and cropping then is not bit-equal to cropping the original, so the
 * cache is off unless asked for; for evaluation with the same shorter side it is exact. Node only.
 *
 * A file an image, named by a hash of path, size, time of change and cache size; so a changed image is decoded anew. Layout:
 * 8 bytes `deit-rgb`, width and height as 32-bit little-endian, then RGB bytes. Written beside and renamed, so that a
 * killed run leaves no half-written entry that is believed.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import type { DecodedImage, FileRange, RgbImage } from '../dataset.ts';
import { resizeShorterSide } from '../transforms.ts';
import type { Interpolation } from '../resize.ts';
import { decodeBytes, decodeImage } from './decode.ts';
import { readRange } from './tar.ts';

export interface CacheOptions {
  folder: string;
  /** Shorter side of the cached images in pixels; smaller images are kept as they are. */
  shorterSide: number;
  interpolation: Interpolation;
}

const magic = Buffer.from('deit-rgb');
const headerBytes = magic.length + 8;

/** As `decodeImage`, but through the cache; an image that lies in a larger file is given by its range, and `path` is what it is called. */
export function cachedDecoder(
  options: CacheOptions,
): (path: string, root?: string, range?: FileRange) => Promise<DecodedImage> {
  return async (path, root, range) => {
    const entry = await entryPath(path, range, options);
    const cached = entry && (await readEntry(entry));
    if (cached) return cached;
    const image = range ? await decodeBytes(readRange(range, path), path) : await decodeImage(path, root);
    const isLarger = Math.min(image.width, image.height) > options.shorterSide;
    const reduced = isLarger ? resizeShorterSide(image, options.shorterSide, options.interpolation) : image;
    if (entry) await writeEntry(entry, reduced);
    return { ...reduced, note: image.note };
  };
}

async function entryPath(
  path: string,
  range: FileRange | undefined,
  options: CacheOptions,
): Promise<string | undefined> {
  const info = await stat(range?.file ?? path).catch(() => undefined);
  if (!info) return undefined; // decoding will say what is wrong
  const place = range ? [range.file, range.offset, range.bytes] : [path];
  const identity = [...place, info.size, info.mtimeMs, options.shorterSide, options.interpolation].join('\n');
  const name = createHash('sha256').update(identity).digest('hex');
  // Two levels keep folders small for sets of a million images.
  return join(options.folder, name.slice(0, 2), `${name}.rgb`);
}

async function readEntry(entry: string): Promise<RgbImage | undefined> {
  const bytes = await readFile(entry).catch(() => undefined);
  if (!bytes || bytes.length < headerBytes || !bytes.subarray(0, magic.length).equals(magic)) return undefined;
  const width = bytes.readUInt32LE(magic.length);
  const height = bytes.readUInt32LE(magic.length + 4);
  if (bytes.length !== headerBytes + width * height * 3) return undefined;
  return { width, height, data: new Uint8Array(bytes.buffer, bytes.byteOffset + headerBytes, width * height * 3) };
}

async function writeEntry(entry: string, image: RgbImage): Promise<void> {
  const header = Buffer.alloc(headerBytes);
  magic.copy(header);
  header.writeUInt32LE(image.width, magic.length);
  header.writeUInt32LE(image.height, magic.length + 4);
  const part = `${entry}.${randomUUID()}.part`;
  try {
    await mkdir(dirname(entry), { recursive: true });
    await writeFile(part, Buffer.concat([header, image.data]));
    await rename(part, entry);
  } catch (cause) {
    await rm(part, { force: true }).catch(() => undefined);
    throw new DeitError('file-unwritable', 'The image cache cannot be written.', {
      where: entry,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'Free space or choose another cache folder, or turn the cache off.',
      cause,
    });
  }
}
