/** Folders to tar shards (WebDataset's layout), and back for a proof. Node only. */
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';
import { DeitError } from '../../../engine/index.ts';
import type { Dataset } from '../dataset.ts';
import { readImageFile } from './decode.ts';
import { readSource } from './open.ts';
import type { ReadDataOptions } from './open.ts';
import { addMember, readRange } from './tar.ts';

export interface PackReport {
  readonly folder: string;
  readonly parts: readonly { readonly name: string; readonly images: number; readonly shards: number }[];
}

/**
 * Writes the images of folders (or of a list) into `shards` tar files a part: members CLASS/NAME.jpg and CLASS/NAME.cls with the
 * number of the class, and classes.txt; then reads all of it back and compares it byte by byte. The folder appears at once, by a
 * rename, when all is proved. Dots in names become "_", for WebDataset ends a key at the first.
 */
export async function packShards(
  source: string,
  output: string,
  shards: number,
  options: ReadDataOptions = {},
): Promise<PackReport> {
  if (!Number.isInteger(shards) || shards < 1 || shards > 100_000) {
    throw new DeitError('bad-argument', 'The number of shards is out of range.', {
      where: '--shards',
      expected: 'an integer from 1 to 100000',
      found: String(shards),
    });
  }
  const { parts, classes } = await readSource(source, options);
  const target = resolve(output);
  const isEmpty = existsSync(target) && (await readdir(target).catch(() => ['not a folder'])).length === 0;
  if (existsSync(target) && !isEmpty) {
    throw new DeitError('file-unwritable', 'The folder for the shards has something in it.', {
      where: target,
      fix: 'Choose a new folder with --output.',
    });
  }
  await mkdir(dirname(target), { recursive: true });
  const work = await mkdtemp(`${target}.part-`);
  try {
    await writeFile(join(work, 'classes.txt'), `${classes.join('\n')}\n`);
    const report = [];
    for (const [split, { dataset, problem }] of parts) {
      if (problem) throw problem;
      if (!dataset.path)
        throw new DeitError('bad-data', 'Only images that are files can be packed.', { where: source });
      const count = Math.min(shards, dataset.length);
      for (let shard = 0; shard < count; shard++) {
        const [from, to] = [shard, shard + 1].map((i) => Math.floor((i * dataset.length) / count));
        const name = `${split === 'all' ? 'images' : split}-${String(shard).padStart(6, '0')}.tar`;
        await writeShard(join(work, name), dataset, from, to);
      }
      report.push({ name: split, images: dataset.length, shards: count });
    }
    await prove(work, parts);
    if (isEmpty) await rmdir(target);
    await rename(work, target);
    return { folder: target, parts: report };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Images [from, to) in their order. */
async function writeShard(file: string, dataset: Dataset, from: number, to: number): Promise<void> {
  const archive = pack();
  const written = pipeline(archive, createWriteStream(file));
  const used = new Set<string>();
  for (let i = from; i < to; i++) {
    const bytes = bytesOf(dataset, i);
    const key = unusedKey(dataset, i, used);
    const ending = /\.([^.]+)$/.exec(dataset.path!(i))?.[1] ?? 'jpg';
    await addMember(archive, `${key}.${ending}`, Buffer.from(bytes));
    await addMember(archive, `${key}.cls`, Buffer.from(String(dataset.label(i))));
  }
  archive.finalize();
  await written;
}

/** CLASS/NAME without dots and endings; numbered where two files would have the same. */
function unusedKey(dataset: Dataset, index: number, used: Set<string>): string {
  const stem = basename(dataset.path!(index)).replace(/\.[^.]+$/, '').replaceAll('.', '_'); // prettier-ignore
  const key = `${dataset.classes[dataset.label(index)].replaceAll('/', '_')}/${stem}`;
  let free = key;
  for (let n = 2; used.has(free); n++) free = `${key}_${n}`;
  used.add(free);
  return free;
}

/** The bytes of an image's file, or of its part of a file. */
export function bytesOf(dataset: Dataset, index: number): Uint8Array {
  const path = dataset.path!(index);
  const range = dataset.range?.(index);
  return range ? readRange(range, path) : readImageFile(path, dataset.root);
}

/** Compares each image and label of shards with those that they were made from. */
async function prove(folder: string, parts: Awaited<ReturnType<typeof readSource>>['parts']): Promise<void> {
  const packed = await readSource(folder);
  for (const [split, { dataset }] of parts) {
    const found = packed.parts.get(split)?.dataset;
    for (let i = 0; i < dataset.length; i++) {
      const isSame =
        found?.length === dataset.length &&
        found.label(i) === dataset.label(i) &&
        Buffer.compare(bytesOf(found, i), bytesOf(dataset, i)) === 0;
      if (isSame) continue;
      throw new DeitError('file-corrupt', 'An image in the shards is not the one that was packed.', {
        where: dataset.path!(i),
        fix: 'Leave the images alone while they are packed, and check the disk; nothing was left behind.',
      });
    }
  }
}
