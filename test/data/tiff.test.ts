/** Directories of TIFF files, written here by the standard (TIFF 6.0, section 2, and BigTIFF's longer offsets). */
import { describe, expect, it } from 'vitest';
import { readTiffTags } from '../../deit/data/node/formats/tiff.ts';

/** Types of the standard: ASCII is one that these tags do not have. */
const ASCII = 2;
const TYPES = { byte: [1, 1], short: [3, 2], long: [4, 4] } as const;

interface Entry {
  readonly tag: number;
  readonly type: number;
  readonly bytesEach: 1 | 2 | 4;
  readonly values: readonly number[];
}

function fileOf(entries: readonly Entry[], little: boolean, isBig: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(512));
  const put = (at: number, bytes: number, value: number): void => {
    if (bytes === 8) view.setBigUint64(at, BigInt(value), little);
    else if (bytes === 4) view.setUint32(at, value, little);
    else if (bytes === 2) view.setUint16(at, value, little);
    else view.setUint8(at, value);
  };
  const wide = isBig ? 8 : 4;
  const directory = 24;
  const ofCount = isBig ? 8 : 2;
  put(0, 2, little ? 0x4949 : 0x4d4d);
  put(2, 2, isBig ? 43 : 42);
  put(isBig ? 8 : 4, wide, directory);
  put(directory, ofCount, entries.length);
  let outside = 300;
  // One more than are counted.
  [...entries, { tag: 999, type: 3, bytesEach: 2, values: [9] }].forEach(({ tag, type, bytesEach, values }, i) => {
    const at = directory + ofCount + i * (4 + 2 * wide);
    put(at, 2, tag);
    put(at + 2, 2, type);
    put(at + 4, wide, values.length);
    // Values lie in the entry where they fit.
    const isInside = values.length * bytesEach <= wide;
    const from = isInside ? at + 4 + wide : outside;
    if (!isInside) put(at + 4 + wide, wide, outside);
    values.forEach((value, k) => put(from + k * bytesEach, bytesEach, value));
    if (!isInside) outside += values.length * bytesEach;
  });
  return new Uint8Array(view.buffer);
}

describe.each([
  ['TIFF', false],
  ['BigTIFF', true],
] as const)('%s', (_name, isBig) => {
  it.each([
    ['little-endian', true],
    ['big-endian', false],
  ] as const)('%s: numbers of every type that its tags have, in the entry and elsewhere', (_order, little) => {
    const expected = new Map<number, number[]>();
    const entries = Object.values(TYPES).flatMap(([type, bytesEach], k) =>
      // One value; as many as fit; one more.
      [1, (isBig ? 8 : 4) / bytesEach, (isBig ? 8 : 4) / bytesEach + 1].map((count, i): Entry => {
        const values = Array.from({ length: count }, (_, v) => 250 ** bytesEach - 1 - 10 * k - i - v);
        const tag = 256 + 10 * k + i;
        expected.set(tag, values);
        return { tag, type, bytesEach, values };
      }),
    );
    const text: Entry = { tag: 270, type: ASCII, bytesEach: 1, values: [65, 0] };
    expect(readTiffTags(fileOf([...entries, text], little, isBig))).toEqual(expected);
  });
});

it('a directory that lies beyond the end of the file is none', () => {
  const file = fileOf([{ tag: 258, type: 3, bytesEach: 2, values: [8] }], true, false);
  expect(readTiffTags(file.subarray(0, 30))).toBeNull();
});
