/**
 * ImageNet (ILSVRC 2012) from its own archives to folders by class, as they are downloaded from image-net.org:
 *
 *     ILSVRC2012_img_train.tar         a tar for each class, n01440764.tar and so on
 *     ILSVRC2012_img_val.tar           ILSVRC2012_val_00000001.JPEG and so on
 *     ILSVRC2012_devkit_t12.tar.gz     meta.mat: number, WordNet id, words and training images of each class;
 *                                      ILSVRC2012_validation_ground_truth.txt: the class number of each validation image
 *
 * Node only.
 */
import { createReadStream, existsSync, readFileSync, statfsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { DeitError, formatBytes } from '../../../engine/index.ts';
import { isImageName, sortNames } from './file-names.ts';
import { readMat } from './formats/mat.ts';
import { listTar, readRange } from './tar.ts';
import type { TarListing, TarMember } from './tar.ts';

const TRAIN = 'ILSVRC2012_img_train.tar';
const VAL = 'ILSVRC2012_img_val.tar';
const DEVKIT = 'ILSVRC2012_devkit_t12';
const META = 'meta.mat';
const TRUTH = 'ILSVRC2012_validation_ground_truth.txt';
const WORDS = 'synset_words.txt';

export interface ImagenetReport {
  readonly folder: string;
  readonly classes: number;
  /** Images of each part, and how many of its classes were there already. */
  readonly parts: readonly { readonly name: 'train' | 'val'; readonly images: number; readonly kept: number }[];
}

interface Synset {
  readonly wnid: string;
  readonly words: string;
  readonly trainImages: number;
}

/** Images of one class that become files of one folder. */
interface ClassImages {
  readonly wnid: string;
  readonly listing: TarListing;
  readonly members: readonly TarMember[];
}

/**
 * Writes `train/WNID` and `val/WNID` into `output` from the archives in `source`, and synset_words.txt. A class appears at once, by a
 * rename, when it is whole; what is there already is compared by names and sizes and kept, so that a run that was broken off goes
 * on. Throws `file-unreadable` for a missing archive, `file-corrupt` for one that is cut short or lacks images.
 */
export async function prepareImagenet(
  source: string,
  output: string,
  say: (line: string) => void = () => undefined,
): Promise<ImagenetReport> {
  const [train, val] = [TRAIN, VAL].map((name) => present(source, name));
  const { synsets, truth } = await readDevkit(source);
  const parts = [
    { name: 'train' as const, classes: trainingImages(train, synsets) },
    { name: 'val' as const, classes: validationImages(val, synsets, truth) },
  ];
  await mkdir(output, { recursive: true });
  const missing = parts.map(({ name, classes }) => classes.filter(({ wnid }) => !existsSync(join(output, name, wnid))));
  expectSpace(output, missing.flat());
  const reports = [];
  for (const { name, classes } of parts) {
    let [images, kept, done] = [0, 0, 0];
    for (const one of classes) {
      if (await writeClass(join(output, name), one)) kept++;
      images += one.members.length;
      if (++done % 50 === 0) say(`${name}: ${done} of ${classes.length} classes`);
    }
    reports.push({ name, images, kept });
  }
  const words = [...synsets.values()].map(({ wnid, words }) => `${wnid} ${words}`);
  await writeFile(join(output, WORDS), `${sortNames(words).join('\n')}\n`);
  return { folder: output, classes: synsets.size, parts: reports };
}

function present(folder: string, name: string): string {
  const path = join(folder, name);
  if (existsSync(path)) return path;
  throw new DeitError('file-unreadable', 'A file of the ImageNet download is missing.', {
    where: folder,
    expected: `${TRAIN}, ${VAL} and ${DEVKIT}.tar.gz`,
    found: `no ${name}`,
    fix: 'Download ILSVRC 2012 from image-net.org (an account is needed) and put the files into this folder unchanged.',
  });
}

/** The classes by their number, and the class numbers of the validation images. */
async function readDevkit(source: string): Promise<{ synsets: Map<number, Synset>; truth: number[] }> {
  const unpacked = join(source, DEVKIT, 'data');
  const archive = existsSync(unpacked) ? null : present(source, `${DEVKIT}.tar.gz`);
  const files = archive ? await devkitFiles(archive) : new Map([META, TRUTH].map((name) => [name, readFileSync(present(unpacked, name))])); // prettier-ignore
  const where = archive ?? unpacked;
  for (const name of [META, TRUTH]) if (!files.has(name)) throw brokenDevkit(where, `no ${name}`);
  const synsets = synsetsOf(files.get(META)!, where);
  const lines = files.get(TRUTH)!.toString('latin1').trim().split(/\s+/);
  const truth = lines.map(Number);
  const bad = truth.findIndex((number) => !synsets.has(number));
  if (bad >= 0) throw brokenDevkit(where, `class "${lines[bad]}" in line ${bad + 1} of ${TRUTH}`);
  return { synsets, truth };
}

async function devkitFiles(archive: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const unpack = extract();
  unpack.on('entry', ({ name }, stream, next) => {
    const parts: Buffer[] = [];
    const isWanted = [META, TRUTH].includes(basename(name));
    stream.on('data', (part) => void (isWanted && parts.push(part as Buffer)));
    stream.on('end', () => {
      if (isWanted) files.set(basename(name), Buffer.concat(parts));
      next();
    });
  });
  try {
    await pipeline(createReadStream(archive), createGunzip(), unpack);
  } catch (cause) {
    throw brokenDevkit(archive, cause instanceof Error ? cause.message : String(cause), cause);
  }
  return files;
}

/** The classes that have images: those without children, as torchvision takes them. */
function synsetsOf(bytes: Buffer, where: string): Map<number, Synset> {
  try {
    const rows = readMat(bytes).get('synsets');
    if (!Array.isArray(rows)) throw new Error('no variable "synsets"');
    const synsets = new Map<number, Synset>();
    for (const row of rows) {
      const { ILSVRC2012_ID: id, WNID: wnid, words, num_children, num_train_images } = row as Record<string, unknown>;
      const number = (value: unknown): number => (Array.isArray(value) && value.length === 1 ? Number(value[0]) : NaN);
      if (number(num_children) !== 0) continue;
      if (typeof wnid !== 'string' || !/^n\d{8}$/.test(wnid) || !Number.isInteger(number(id))) {
        throw new Error(`synset ${synsets.size + 1} without a number or a WordNet id`);
      }
      synsets.set(number(id), { wnid, words: String(words), trainImages: number(num_train_images) });
    }
    if (synsets.size === 0) throw new Error('no class without children');
    return synsets;
  } catch (cause) {
    throw brokenDevkit(where, `${META}: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
}

function trainingImages(file: string, synsets: ReadonlyMap<number, Synset>): ClassImages[] {
  const outer = listTar(file);
  const tars = new Map(outer.members.map((member) => [basename(member.name), member]));
  const wanted = [...synsets.values()].sort((a, b) => (a.wnid < b.wnid ? -1 : 1));
  return wanted.map(({ wnid, trainImages }) => {
    const tar = tars.get(`${wnid}.tar`);
    if (!tar) throw incomplete(file, `a member ${wnid}.tar`, `${tars.size} members, none of this name`);
    const listing = listTar(file, tar);
    const members = imagesIn(listing, `${wnid}.tar in ${file}`);
    if (members.length !== trainImages) throw incomplete(`${wnid}.tar in ${file}`, `${trainImages} images`, `${members.length}`); // prettier-ignore
    return { wnid, listing, members };
  });
}

function validationImages(file: string, synsets: ReadonlyMap<number, Synset>, truth: readonly number[]): ClassImages[] {
  const listing = listTar(file);
  const images = imagesIn(listing, file);
  if (images.length !== truth.length) throw incomplete(file, `${truth.length} images, as ${TRUTH} has lines`, `${images.length}`); // prettier-ignore
  const byClass = new Map<string, TarMember[]>();
  for (const member of images) {
    const place = Number(/_(\d{8})\.JPEG$/i.exec(member.name)?.[1] ?? NaN);
    const label = truth[place - 1];
    if (label === undefined) throw incomplete(file, `names from ILSVRC2012_val_00000001.JPEG to number ${truth.length}`, member.name); // prettier-ignore
    const { wnid } = synsets.get(label)!;
    const own = byClass.get(wnid) ?? byClass.set(wnid, []).get(wnid)!;
    own.push(member);
  }
  const wnids = sortNames([...byClass.keys()]);
  return wnids.map((wnid) => ({ wnid, listing, members: byClass.get(wnid)! }));
}

/** The images of an archive, none twice. */
function imagesIn({ members }: TarListing, where: string): readonly TarMember[] {
  const images = members.filter(({ name }) => isImageName(name) && !basename(name).startsWith('.'));
  const names = new Set<string>();
  for (const { name } of images) {
    if (names.has(basename(name))) throw incomplete(where, 'a name for each image', `two images called ${basename(name)}`); // prettier-ignore
    names.add(basename(name));
  }
  return images;
}

/** Whether the class was there already. */
async function writeClass(part: string, { wnid, listing, members }: ClassImages): Promise<boolean> {
  const target = join(part, wnid);
  if (existsSync(target)) {
    await expectWhole(target, members);
    return true;
  }
  const work = join(part, `.${wnid}.part`);
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  for (const { name, offset, bytes } of members) {
    await writeFile(join(work, basename(name)), readRange({ ...listing, offset, bytes }, name));
  }
  await rename(work, target);
  return false;
}

/** A folder that an earlier run made has exactly the images of the archive. */
async function expectWhole(folder: string, members: readonly TarMember[]): Promise<void> {
  const expected = new Map(members.map(({ name, bytes }) => [basename(name), bytes]));
  const found = await readdir(folder);
  const odd = found.find((name) => !expected.has(name));
  const wrong = async (): Promise<string | undefined> => {
    for (const [name, bytes] of expected) {
      const size = (await stat(join(folder, name)).catch(() => undefined))?.size;
      if (size !== bytes) return size === undefined ? `no ${name}` : `${name} of ${size} bytes, not ${bytes}`;
    }
    return undefined;
  };
  const problem = odd !== undefined ? `${odd}, which the archive has not` : await wrong();
  if (problem === undefined) return;
  throw new DeitError('bad-data', 'A class folder is not what the archive holds.', {
    where: folder,
    expected: `${expected.size} images`,
    found: problem,
    fix: 'Remove the folder and run the command again: it makes what is missing.',
  });
}

function expectSpace(folder: string, classes: readonly ClassImages[]): void {
  const block = 4096;
  const sizes = classes.flatMap(({ members }) => members.map(({ bytes }) => Math.ceil(bytes / block) * block));
  const needed = sizes.reduce((sum, bytes) => sum + bytes, 0);
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= needed) return;
  throw new DeitError('file-unwritable', 'There is not enough space for the images.', {
    where: folder,
    expected: formatBytes(needed),
    found: `${formatBytes(bavail * bsize)} free`,
    fix: 'Choose another place with --output; the archives stay as they are.',
  });
}

const brokenDevkit = (where: string, found: string, cause?: unknown): DeitError =>
  new DeitError('file-corrupt', 'The development kit of ImageNet is not as published.', {
    where,
    expected: `${META} with the classes and ${TRUTH} with a class number for each validation image`,
    found,
    fix: `Download ${DEVKIT}.tar.gz again (tasks 1 and 2, not task 3).`,
    cause,
  });

const incomplete = (where: string, expected: string, found: string): DeitError =>
  new DeitError('file-corrupt', 'An archive of ImageNet is not whole.', {
    where,
    expected,
    found,
    fix: 'Download the archive again and compare its MD5 with the one on the download page.',
  });
