/** Changes to files, of bytes and of JSON, for fast-check to draw, combine and shrink. */
import fc from 'fast-check';
import { DataChecksum, withChecksums, withoutChecksums } from '../../engine/node/checksums.ts';
import { parseSafetensors, safetensorsPieces, serializeSafetensors } from '../../engine/safetensors.ts';
import type { Safetensors } from '../../engine/safetensors.ts';

export type Change = (file: Uint8Array) => Uint8Array;

const EXTREMES = [0, 1, 0x7f, 0x80, 0xff];
const at = (file: Uint8Array, position: number): number => Math.floor(position * file.length);
const position = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

const one: fc.Arbitrary<Change> = fc.oneof(
  fc.tuple(position, fc.integer({ min: 0, max: 7 })).map(([p, bit]): Change => (file) => {
    const changed = file.slice();
    if (changed.length > 0) changed[at(file, p)] ^= 1 << bit;
    return changed;
  }),
  fc
    .tuple(position, fc.constantFrom(...EXTREMES), fc.integer({ min: 1, max: 9 }))
    .map(([p, value, length]): Change => (file) => {
      const changed = file.slice();
      changed.fill(value, at(file, p), Math.min(file.length, at(file, p) + length));
      return changed;
    }),
  position.map(
    (p): Change =>
      (file) =>
        file.slice(0, at(file, p)),
  ),
  fc.tuple(position, fc.uint8Array({ minLength: 1, maxLength: 16 })).map(
    ([p, bytes]): Change =>
      (file) =>
        Buffer.concat([file.slice(0, at(file, p)), bytes, file.slice(at(file, p))]),
  ),
  fc.tuple(position, fc.integer({ min: 1, max: 64 })).map(
    ([p, length]): Change =>
      (file) =>
        Buffer.concat([file.slice(0, at(file, p)), file.slice(at(file, p) + length)]),
  ),
  fc.tuple(position, position).map(
    ([p, q]): Change =>
      (file) =>
        Buffer.concat([file, file.slice(Math.min(at(file, p), at(file, q)), Math.max(at(file, p), at(file, q)))]),
  ),
);

/** A few changes anywhere. */
export const shallow: fc.Arbitrary<Change> = fc
  .array(one, { minLength: 1, maxLength: 4 })
  .map((changes) => (file) => changes.reduce<Uint8Array>((bytes, change) => change(bytes), Uint8Array.from(file)));

/** Changes behind byte number `start`, whose count stays what it was. */
export const bodyFrom = (start: number): fc.Arbitrary<Change> =>
  fc.array(one, { minLength: 1, maxLength: 4 }).map((changes) => (file) => {
    const body = changes.reduce<Uint8Array>((bytes, change) => change(bytes), Uint8Array.from(file.slice(start)));
    return Buffer.concat([file.slice(0, start), body]);
  });

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const NAMES = ['__proto__', 'constructor', 'prototype', '__metadata__', '', 'a'.repeat(5000), '\u0000', 'ä', '../x'];
const strange: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(
    -1,
    0,
    1.5,
    2 ** 31,
    2 ** 53,
    2 ** 53 + 2,
    1e308,
    null,
    true,
    '',
    [],
    {},
    'F32',
    'Q4',
    [-1],
    [2 ** 40, 2 ** 40],
  ),
  fc.constantFrom<Json>([4294967296, 4294967296], [0], [1, 0, 2 ** 50], [8, 4], [0, 2 ** 60], { polluted: true }),
  fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<Json>,
);

/** Replaces, renames, repeats or removes a value somewhere in a JSON text. */
const jsonChange: fc.Arbitrary<(text: string) => string> = fc.oneof(
  fc.tuple(position, strange).map(
    ([p, value]) =>
      (text: string): string =>
        editJson(text, p, () => value),
  ),
  fc.tuple(position, fc.constantFrom(...NAMES)).map(
    ([p, name]) =>
      (text: string): string =>
        renameKey(text, p, name),
  ),
  position.map(
    (p) =>
      (text: string): string =>
        repeatKey(text, p),
  ),
  fc.integer({ min: 1, max: 3000 }).map(
    (depth) =>
      (text: string): string =>
        editJson(text, 0.5, () => '@').replace('"@"', '['.repeat(depth) + ']'.repeat(depth)),
  ),
);

/** Calls `visit` for every value below the root of `json`. */
function walk(json: Json, visit: (parent: Record<string, Json>, key: string) => void): void {
  if (json === null || typeof json !== 'object') return;
  for (const key of Object.keys(json)) {
    visit(json as Record<string, Json>, key);
    walk((json as Record<string, Json>)[key], visit);
  }
}

function editJson(text: string, p: number, change: (value: Json) => Json): string {
  const json = JSON.parse(text) as Json;
  const places: [Record<string, Json>, string][] = [];
  walk(json, (parent, key) => places.push([parent, key]));
  if (places.length === 0) return text;
  const [parent, key] = places[Math.floor(p * places.length)];
  parent[key] = change(parent[key]);
  return JSON.stringify(json);
}

const keysOf = (text: string): RegExpMatchArray[] => [...text.matchAll(/"(?:[^"\\]|\\.)*"(?=\s*:)/g)];
function renameKey(text: string, p: number, name: string): string {
  const keys = keysOf(text);
  if (keys.length === 0) return text;
  const { index = 0, 0: key } = keys[Math.floor(p * keys.length)];
  return text.slice(0, index) + JSON.stringify(name) + text.slice(index + key.length);
}
function repeatKey(text: string, p: number): string {
  const keys = keysOf(text);
  return keys.length === 0
    ? text
    : renameKey(text, p, JSON.parse(keys[Math.floor((1 - p) * (keys.length - 1))][0]) as string);
}

/** One to `most` of these changes to a file that is JSON. */
export const jsonChanges = (most: number): fc.Arbitrary<Change> =>
  fc.array(jsonChange, { minLength: 1, maxLength: most }).map((changes) => (file) => {
    let text = Buffer.from(file).toString('utf8');
    for (const change of changes) {
      try {
        text = change(text);
      } catch {
        // An earlier change made it no JSON any more; that is a change enough.
      }
    }
    return Buffer.from(text);
  });

/** Changes the JSON header of a safetensors file; the length in front is right again afterwards. */
export const headerChange: fc.Arbitrary<Change> = jsonChanges(2).map((change) => (file) => {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = change(file.subarray(8, 8 + length));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([size, header, file.subarray(8 + length)]);
});

/** Changes a JSON text that the metadata of a safetensors file of ours holds: a position, a card, what a run was trained on. */
const metadataChange: fc.Arbitrary<Change> = fc.tuple(position, jsonChanges(2)).map(([p, change]) => (file) => {
  const { tensors, metadata } = parseSafetensors(file);
  const texts = [...withoutChecksums(metadata)].filter(([, text]) => text.startsWith('{'));
  const [key, text] = texts[Math.floor(p * texts.length)];
  metadata.set(key, Buffer.from(change(Buffer.from(text))).toString());
  return serializeSafetensors(tensors, metadata);
});

/** A changed file with the checksums of its new content, as whoever changes it on purpose would write them. */
function resealed(file: Uint8Array): Uint8Array {
  let content: Safetensors;
  try {
    content = parseSafetensors(file);
  } catch {
    // Refused before anybody looks at a checksum.
    return file;
  }
  const { tensors, metadata } = content;
  const checksum = new DataChecksum();
  for (const piece of safetensorsPieces(tensors).slice(1)) checksum.add(piece);
  const described = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  return serializeSafetensors(tensors, withChecksums(metadata, described, checksum.digest()));
}

/** Changes to the header or to the metadata of a checkpoint, behind which its checksums are right again. */
export const sealedChange: fc.Arbitrary<Change> = fc
  .oneof(headerChange, metadataChange)
  .map((change) => (file) => resealed(change(file)));
