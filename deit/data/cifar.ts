/**
 * CIFAR-10 and CIFAR-100 in their binary format, any number of records. Pure parsing of bytes, browser-safe.
 * Format: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. A record is one label byte
 * (CIFAR-100: a coarse and a fine label byte) and 3072 pixel bytes: the red, green and blue planes of 32 x 32 pixels.
 */
import { DeitError } from '../../engine/index.ts';
import { MemoryDataset } from './dataset.ts';
import type { Split } from './dataset.ts';

const side = 32;
const plane = side * side;

export interface CifarKind {
  name: string;
  labelBytes: 1 | 2;
  /** Which of the label bytes is the class (CIFAR-100: the fine label). */
  labelOffset: 0 | 1;
  classCount: 10 | 100;
}

export const cifar10: CifarKind = { name: 'CIFAR-10', labelBytes: 1, labelOffset: 0, classCount: 10 };
export const cifar100: CifarKind = { name: 'CIFAR-100', labelBytes: 2, labelOffset: 1, classCount: 100 };

export const cifar10Classes: readonly string[] = [
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
];

export const recordBytes = (kind: CifarKind): number => kind.labelBytes + 3 * plane;

/** Number of records in a file of `bytes` bytes; throws if it is not a whole number of at least one. */
export function cifarRecordCount(kind: CifarKind, bytes: number, file: string): number {
  const size = recordBytes(kind);
  if (bytes > 0 && bytes % size === 0) return bytes / size;
  throw new DeitError('file-corrupt', `This is not a whole ${kind.name} binary file.`, {
    where: file,
    expected: `a positive multiple of ${size} bytes (one record)`,
    found: `${bytes} bytes (${Math.floor(bytes / size)} records and ${bytes % size} bytes)`,
    fix: 'The file is truncated or of another format: fetch it again, or run `deit data cifar10`.',
  });
}

/**
 * Joins the records of one or more files into one data set. Pixels are turned from planes to interleaved RGB.
 * Throws `file-corrupt`, naming the file, if a size is not a multiple of a record or a label is out of range.
 */
export function parseCifar(
  kind: CifarKind,
  files: readonly { name: string; bytes: Uint8Array }[],
  classes: readonly string[],
  split: Split,
): MemoryDataset {
  if (classes.length !== kind.classCount) {
    throw new DeitError('file-corrupt', `${kind.name} needs ${kind.classCount} class names.`, {
      expected: String(kind.classCount),
      found: String(classes.length),
      fix: 'Give one class name a line in the list of names beside the binary files.',
    });
  }
  const counts = files.map((file) => cifarRecordCount(kind, file.bytes.length, file.name));
  const total = counts.reduce((sum, count) => sum + count, 0);
  const labels = new Uint8Array(total);
  const pixels = new Uint8Array(total * 3 * plane);
  let image = 0;
  files.forEach((file, f) => {
    for (let record = 0; record < counts[f]; record++, image++) {
      const start = record * recordBytes(kind);
      labels[image] = readLabel(kind, file, record, start);
      interleave(file.bytes, start + kind.labelBytes, pixels, image * 3 * plane);
    }
  });
  return new MemoryDataset({ name: kind.name, split, classes, imageSize: side, labels, pixels });
}

function readLabel(kind: CifarKind, file: { name: string; bytes: Uint8Array }, record: number, start: number): number {
  const label = file.bytes[start + kind.labelOffset];
  const coarseLimit = 20;
  const coarseIsBad = kind.labelBytes === 2 && file.bytes[start] >= coarseLimit;
  if (label < kind.classCount && !coarseIsBad) return label;
  throw new DeitError('file-corrupt', `A label of this ${kind.name} file is out of range.`, {
    where: `${file.name}, record ${record}`,
    expected: `a label from 0 to ${kind.classCount - 1}${kind.labelBytes === 2 ? ' after a coarse label from 0 to 19' : ''}`,
    found: coarseIsBad ? `coarse label ${file.bytes[start]}` : String(label),
    fix: 'The file is damaged or of another format: fetch it again.',
  });
}

function interleave(planes: Uint8Array, from: number, rgb: Uint8Array, to: number): void {
  for (let i = 0; i < plane; i++) {
    rgb[to + 3 * i] = planes[from + i];
    rgb[to + 3 * i + 1] = planes[from + plane + i];
    rgb[to + 3 * i + 2] = planes[from + 2 * plane + i];
  }
}

/** One CIFAR-10 record (3073 bytes) from a label and interleaved RGB pixels: the inverse of parsing. */
export function encodeCifar10Record(label: number, rgb: Uint8Array): Uint8Array {
  const record = new Uint8Array(recordBytes(cifar10));
  record[0] = label;
  for (let i = 0; i < plane; i++) {
    for (let channel = 0; channel < 3; channel++) record[1 + channel * plane + i] = rgb[3 * i + channel];
  }
  return record;
}

/** Class names from a text file, one a line (`batches.meta.txt`, `fine_label_names.txt`). */
export const parseClassNames = (text: string): string[] =>
  text
    .split(/\r?\n/)
    // A byte order mark is white space too.
    .map((line) => line.trim())
    .filter((line) => line !== '');
