/**
 * Images in Parquet files, as the Hugging Face hub stores data sets: a column of structures {bytes, path}, and one of labels, whose
 * names the files themselves carry. Pages of rows are compressed together, so that an image cannot be read by itself: the
 * images are laid out once as a tar shard for each part in the user's cache, and read from there. Node only.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream, existsSync, readdirSync, statSync, statfsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
import type { AsyncBuffer, FileMetaData } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { pack } from 'tar-stream';
import { DeitError, formatBytes } from '../../../engine/index.ts';
import { cacheFolder } from '../../../engine/node/package.ts';
import type { Split } from '../dataset.ts';
import { formatOf } from '../image-format.ts';
import { sortNames } from './file-names.ts';
import type { ImageSource } from './image-source.ts';
import { findFiles, partOfFile, readShards } from './shards.ts';
import { addMember } from './tar.ts';

const ENDING = /\.parquet$/i;

/** The Parquet files that a path names: a file, a pattern with {000..127}, or a folder of them (or its folder "data"); [] for anything else. */
export function findParquet(path: string): string[] {
  const own = findFiles(path, ENDING);
  const inner = join(path, 'data');
  return own.length > 0 ? own : findFiles(inner, ENDING);
}

interface Table {
  readonly file: string;
  readonly buffer: AsyncBuffer;
  readonly metadata: FileMetaData;
  readonly image: string;
  readonly label: string;
  /** Names of the labels, where the file has them. */
  readonly names: readonly string[] | null;
}

/** Opens files found by `findParquet`; `labelColumn`: where there are several. The layout in the cache is named for it and their paths, sizes and times of change. */
export async function readParquet(name: string, files: readonly string[], labelColumn?: string): Promise<ImageSource> {
  const tables = await Promise.all(files.map((file) => openTable(file, labelColumn)));
  const state = files.map((file) => [resolve(file), statSync(file).size, statSync(file).mtimeMs]);
  const key = createHash('sha256')
    .update(JSON.stringify(labelColumn === undefined ? state : [...state, labelColumn]))
    .digest('hex')
    .slice(0, 32);
  const folder = join(cacheFolder(), 'parquet', key);
  if (!existsSync(folder)) await layOut(tables, folder);
  const shards = sortNames(readdirSync(folder).filter((entry) => entry.endsWith('.tar'))).map((entry) => join(folder, entry)); // prettier-ignore
  const source = await readShards(name, shards);
  const notes = [`${files.length} Parquet ${files.length === 1 ? 'file' : 'files'}, laid out in ${folder}`];
  return { ...source, kind: 'parquet', notes };
}

async function openTable(file: string, labelColumn: string | undefined): Promise<Table> {
  try {
    const buffer = await asyncBufferFromFile(file);
    const metadata = await parquetMetadataAsync(buffer);
    return { file, buffer, metadata, ...columnsOf(file, metadata, labelColumn) };
  } catch (cause) {
    throw readable(file, cause);
  }
}

function columnsOf(
  file: string,
  metadata: FileMetaData,
  wanted: string | undefined,
): Pick<Table, 'image' | 'label' | 'names'> {
  const columns = parquetSchema(metadata).children;
  const features = featuresOf(metadata);
  const has = (name: string, parts: readonly string[]): boolean => {
    const children = columns.find(({ element }) => element.name === name)?.children ?? [];
    return parts.every((part) => children.some(({ element }) => element.name === part));
  };
  const listed = columns.map(({ element }) => element.name);
  const images = listed.filter((column) => has(column, ['bytes', 'path']));
  if (images.length !== 1) {
    throw new DeitError('bad-data', 'A Parquet file has not one column of images.', {
      where: file,
      expected: 'a column of structures {bytes, path}, such as "image"',
      found: `${images.length === 0 ? 'none' : images.join(' and ')} among the columns ${listed.join(', ')}`,
    });
  }
  const classLabels = listed.filter((column) => features[column]?._type === 'ClassLabel');
  const usual = ['label', 'labels', 'class', 'target'].find((column) => listed.includes(column));
  const found = classLabels.length === 1 ? classLabels[0] : usual;
  const label = wanted === undefined ? found : listed.find((column) => column === wanted && column !== images[0]);
  if (label === undefined) {
    throw new DeitError('bad-data', 'It cannot be told which column of a Parquet file has the labels.', {
      where: file,
      expected: wanted ?? 'one column of the type ClassLabel, or a column "label"',
      found: `the columns ${listed.join(', ')}`,
      fix: `Name it with data.labelColumn (--label-column of deit data)${classLabels.length > 0 ? `, for example ${classLabels[0]}` : ''}.`,
    });
  }
  return { image: images[0], label, names: features[label]?.names ?? null };
}

/** What the library `datasets` notes of the columns. */
function featuresOf({ key_value_metadata }: FileMetaData): Record<string, { _type?: string; names?: string[] }> {
  const text = key_value_metadata?.find(({ key }) => key === 'huggingface')?.value;
  try {
    const { info } = JSON.parse(text ?? '{}') as {
      info?: { features?: Record<string, { _type?: string; names?: string[] }> };
    };
    return info?.features ?? {};
  } catch {
    return {};
  }
}

/** Writes a shard for each part, beside and renamed, so that one that is there is whole. */
async function layOut(tables: readonly Table[], folder: string): Promise<void> {
  const bytes = tables.reduce((sum, { file }) => sum + statSync(file).size, 0);
  const work = `${folder}.${randomUUID()}.part`;
  await mkdir(work, { recursive: true });
  const { bavail, bsize } = statfsSync(work);
  if (bavail * bsize < 1.1 * bytes) {
    throw new DeitError('file-unwritable', 'There is not enough space to lay out the images of Parquet files.', {
      where: work,
      expected: formatBytes(1.1 * bytes),
      found: `${formatBytes(bavail * bsize)} free`,
      fix: 'Let XDG_CACHE_HOME name a folder with more space.',
    });
  }
  try {
    const areDivided = tables.every(({ file }) => partOfFile(file, ENDING));
    const parts = new Map<Split | 'all', Table[]>();
    for (const table of tables) {
      const part = areDivided ? partOfFile(table.file, ENDING)! : 'all';
      (parts.get(part) ?? parts.set(part, []).get(part)!).push(table);
    }
    for (const [part, own] of parts) {
      const archive = pack();
      const written = pipeline(archive, createWriteStream(join(work, `${part === 'all' ? 'images' : part}.tar`)));
      try {
        for (const table of own) await addImages(archive, table);
        archive.finalize();
      } catch (error) {
        archive.destroy();
        await written.catch(() => undefined);
        throw error;
      }
      await written;
    }
    const { names } = tables[0];
    if (names) await writeFile(join(work, 'classes.txt'), `${names.join('\n')}\n`);
    await rename(work, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error; // else another process was as fast
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** One group of rows at a time is in memory. */
async function addImages(archive: ReturnType<typeof pack>, table: Table): Promise<void> {
  const { file, buffer, metadata, image, label, names } = table;
  let row = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = row + Number(group.num_rows);
    const rows = await parquetReadObjects({ file: buffer, metadata, compressors, utf8: false, columns: [image, label], rowStart: row, rowEnd }).catch((cause: unknown) => { throw readable(file, cause); }); // prettier-ignore
    for (const found of rows) {
      const { bytes, path } = (found[image] ?? {}) as { bytes?: unknown; path?: unknown };
      if (!(bytes instanceof Uint8Array)) throw oddRow(file, row, `bytes of an image in column ${image}`, typeof path === 'string' ? `only a path, ${path}` : 'nothing'); // prettier-ignore
      const written = labelOf(found[label], names);
      if (written === null) throw oddRow(file, row, `a label in column ${label}`, String(found[label]));
      const stem = typeof path === 'string' ? `_${basename(path).replace(/\.[^.]*$/, '').replace(/[^\w-]/g, '_').slice(0, 60)}` : ''; // prettier-ignore
      const key = `${basename(file).replace(ENDING, '').replaceAll('.', '_')}/${String(row).padStart(8, '0')}${stem}`;
      await addMember(archive, `${key}.${endingOf(bytes)}`, bytes);
      await addMember(archive, `${key}.cls`, Buffer.from(written));
      row++;
    }
  }
}

/** The number of a class, its name, or null for what is neither. */
function labelOf(value: unknown, names: readonly string[] | null): string | null {
  if (value instanceof Uint8Array) return labelOf(new TextDecoder().decode(value), names);
  if (typeof value === 'string') return value.trim() === '' ? null : value;
  if (typeof value !== 'bigint' && typeof value !== 'number') return null;
  const number = Number(value);
  return Number.isInteger(number) && number >= 0 && number < (names?.length ?? 1e9) ? String(number) : null;
}

/** Members are taken for images by their ending; what is in them is looked at when they are decoded. */
function endingOf(bytes: Uint8Array): string {
  const format = formatOf(bytes);
  const read = format && 'read' in format ? format.read : 'jpeg';
  return { jpeg: 'jpg', netpbm: 'ppm' }[read as string] ?? read;
}

const oddRow = (file: string, row: number, expected: string, found: string): DeitError =>
  new DeitError('bad-data', 'A row of a Parquet file is no labelled image.', {
    where: `${file}, row ${row} (from 0)`,
    expected,
    found,
    fix: 'Leave such rows out of the file; images must be embedded in it.',
  });

function readable(file: string, cause: unknown): DeitError {
  if (cause instanceof DeitError) return cause;
  const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
  return new DeitError(isMissing ? 'file-unreadable' : 'file-corrupt', 'A Parquet file cannot be read.', {
    where: file,
    found: cause instanceof Error ? cause.message : String(cause),
    fix: 'Download the file again; a pointer of Git LFS instead of the file has a few lines of text.',
    cause,
  });
}
