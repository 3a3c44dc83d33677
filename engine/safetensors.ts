/**
 * The safetensors file format (https://github.com/huggingface/safetensors): eight bytes with the length of the header,
 * a JSON header {name: {dtype, shape, data_offsets}}, and the tensors' bytes, little-endian and without gaps.
 * Pure functions on bytes; files are read and written by node/safetensors-files.ts. Like the reference implementation,
 * the reader refuses headers over 100 MB, gaps, overlaps and sizes that do not follow from the shape.
 */
import { DeitError } from '../kernels/lib/errors.ts';
import { bfloatToNumber, f16ToNumber, numberToBfloat, numberToF16 } from './float16.ts';
import { parseStrictJson } from './json.ts';
import type { JsonObject, JsonValue } from './json.ts';
import { formatShape, numel } from './tensor-shape.ts';
import type { Shape } from './tensor-shape.ts';

export type SafetensorsDType =
  'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'U64' | 'I32' | 'U32' | 'I16' | 'U16' | 'I8' | 'U8' | 'BOOL';

/** Bytes of an element, in the order in which the reference implementation writes the tensors of a file. */
const BYTES: Readonly<Record<SafetensorsDType, number>> = {
  ...{ U64: 8, I64: 8, F64: 8 },
  ...{ F32: 4, U32: 4, I32: 4 },
  ...{ BF16: 2, F16: 2, U16: 2, I16: 2 },
  ...{ I8: 1, U8: 1, BOOL: 1 },
};
const ORDER = Object.keys(BYTES);

/** A tensor of a file: `bytes` is a view, not a copy. */
export interface StoredTensor {
  readonly dtype: SafetensorsDType;
  readonly shape: Shape;
  readonly bytes: Uint8Array;
}

export interface Safetensors {
  readonly tensors: Map<string, StoredTensor>;
  /** The free text of `__metadata__`. */
  readonly metadata: Map<string, string>;
}

/** What the header says of one tensor; `begin` and `end` count from the end of the header. */
export interface HeaderEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: Shape;
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of the header. */
  readonly entries: HeaderEntry[];
  readonly metadata: Map<string, string>;
}

/** Bytes of the length field at the start of a file. */
export const LENGTH_BYTES = 8;
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = '__metadata__';
/** An error lists this many problems, then a count. */
const MAX_PROBLEMS_LISTED = 40;

const corrupt = (where: string, expected: string, found: string): DeitError =>
  new DeitError('file-corrupt', 'This is not a valid safetensors file.', {
    where,
    expected,
    found,
    fix: 'PyTorch .pth and .bin pickles are not read: convert them with safetensors.torch.save_file(state_dict, path)',
  });

/** The length of the header from the first eight bytes of a file of `fileBytes` bytes. Throws `file-corrupt`. */
export function headerLength(start: Uint8Array, fileBytes: number, where: string): number {
  if (start.byteLength < LENGTH_BYTES || fileBytes < LENGTH_BYTES + 2) {
    throw corrupt(where, `at least ${LENGTH_BYTES + 2} bytes`, `${fileBytes} bytes`);
  }
  const length = new DataView(start.buffer, start.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw corrupt(where, `a header of at most ${MAX_HEADER_BYTES} bytes`, `a header length of ${length}`);
  }
  if (length > fileBytes - LENGTH_BYTES) {
    throw corrupt(where, `a header within the ${fileBytes} bytes of the file`, `a header length of ${length}`);
  }
  return Number(length);
}

/** Parses and checks the header of a file with `dataBytes` bytes after it. Throws `file-corrupt` with every problem. */
export function parseHeader(header: Uint8Array, dataBytes: number, where: string): SafetensorsHeader {
  if (header[0] !== 0x7b) throw corrupt(where, 'a header that starts with "{"', `byte ${header[0]}`);
  const root = parseStrictJson(header, where, { maxDepth: 4, integersOnly: true }) as JsonObject;
  const problems: string[] = [];
  const metadata = new Map<string, string>();
  const entries: HeaderEntry[] = [];
  for (const [name, value] of root) {
    if (name === METADATA) readMetadata(value, metadata, problems);
    else {
      const entry = readEntry(name, value, problems);
      if (entry) entries.push(entry);
    }
  }
  // Ranges make sense together only when each one does.
  if (problems.length === 0) checkCoverage(entries, dataBytes, problems);
  if (problems.length > 0) {
    const listed = problems.slice(0, MAX_PROBLEMS_LISTED);
    if (problems.length > listed.length) listed.push(`and ${problems.length - listed.length} more`);
    throw corrupt(where, 'tensors that fill the file without gaps or overlaps', listed.join('\n    '));
  }
  return { entries, metadata };
}

const quote = (name: string): string => JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}...` : name);

function readMetadata(value: JsonValue, metadata: Map<string, string>, problems: string[]): void {
  // As the safetensors library: null is none.
  if (value === null) return;
  if (!(value instanceof Map)) {
    problems.push(`${METADATA} is not an object`);
    return;
  }
  for (const [key, text] of value) {
    if (typeof text === 'string') metadata.set(key, text);
    else problems.push(`${METADATA} ${quote(key)} is not a string`);
  }
}

const isSize = (value: JsonValue): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);

function readEntry(name: string, value: JsonValue, problems: string[]): HeaderEntry | null {
  const report = (problem: string): null => {
    problems.push(`${quote(name)}: ${problem}`);
    return null;
  };
  if (!(value instanceof Map)) return report('is not an object');
  for (const key of value.keys()) {
    if (!['dtype', 'shape', 'data_offsets'].includes(key)) return report(`has an unknown field ${quote(key)}`);
  }
  const dtype = value.get('dtype');
  const shape = value.get('shape');
  const offsets = value.get('data_offsets');
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES, dtype)) {
    return report(`the dtype ${typeof dtype === 'string' ? quote(dtype) : '(missing)'} is not supported`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) return report('the shape is not an array of sizes');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return report('data_offsets are not two offsets');
  }
  const [begin, end] = offsets;
  const bytes = byteSize(dtype as SafetensorsDType, shape);
  if (!Number.isSafeInteger(bytes)) return report('the shape is too large');
  if (end - begin !== bytes) {
    return report(`${dtype} ${formatShape(shape)} takes ${bytes} bytes, data_offsets span ${end - begin}`);
  }
  return { name, dtype: dtype as SafetensorsDType, shape, begin, end };
}

/** Bytes of a tensor; not a safe integer if the shape is absurd (a zero in it does not excuse that). */
function byteSize(dtype: SafetensorsDType, shape: Shape): number {
  const bound = numel(shape.filter((size) => size > 0)) * BYTES[dtype];
  return bound <= Number.MAX_SAFE_INTEGER && shape.includes(0) ? 0 : bound;
}

function checkCoverage(entries: readonly HeaderEntry[], dataBytes: number, problems: string[]): void {
  const ordered = [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of ordered) {
    if (begin !== covered) {
      problems.push(`${quote(name)}: ${begin < covered ? 'overlaps' : 'leaves a gap after'} the tensor before it`);
    }
    if (end > dataBytes) problems.push(`${quote(name)}: ends at ${end} of ${dataBytes} bytes (a truncated file?)`);
    covered = end;
  }
  if (problems.length === 0 && covered !== dataBytes) {
    problems.push(`${dataBytes - covered} bytes at the end belong to no tensor`);
  }
}

/** Parses a whole file. The tensors are views of `file`. Throws `file-corrupt`; `where` names the file in it. */
export function parseSafetensors(file: Uint8Array, where = 'safetensors'): Safetensors {
  const length = headerLength(file, file.byteLength, where);
  const data = file.subarray(LENGTH_BYTES + length);
  return cutTensors(parseHeader(file.subarray(LENGTH_BYTES, LENGTH_BYTES + length), data.byteLength, where), data);
}

/** The tensors that a header describes, as views of the bytes after it. */
export function cutTensors({ entries, metadata }: SafetensorsHeader, data: Uint8Array): Safetensors {
  const cut = ({ name, dtype, shape, begin, end }: HeaderEntry): [string, StoredTensor] => [
    name,
    { dtype, shape, bytes: data.subarray(begin, end) },
  ];
  return { tensors: new Map(entries.map(cut)), metadata };
}

/** A file in pieces, to be written one after the other: the header, then each tensor's own bytes, uncopied. */
export function safetensorsPieces(
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Uint8Array[] {
  for (const [name, { dtype, shape, bytes }] of tensors) {
    if (name !== METADATA && byteSize(dtype, shape) === bytes.byteLength) continue;
    throw new DeitError('bad-argument', 'This tensor cannot be stored in a safetensors file.', {
      where: name,
      expected: name === METADATA ? `another name than ${METADATA}` : `${byteSize(dtype, shape)} bytes`,
      found: `${dtype} ${formatShape(shape)} with ${bytes.byteLength} bytes`,
    });
  }
  // Wide elements first, so that every tensor is aligned to its own size, then by name, as the reference implementation has
  // it: the same tensors are the same bytes, whoever wrote them.
  const ordered = [...tensors].sort(
    ([x, a], [y, b]) => ORDER.indexOf(a.dtype) - ORDER.indexOf(b.dtype) || (x < y ? -1 : 1),
  );
  const fields: string[] = [];
  const field = (name: string, value: unknown): number =>
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  if (metadata.size > 0) field(METADATA, Object.fromEntries(metadata));
  let begin = 0;
  for (const [name, { dtype, shape, bytes }] of ordered) {
    field(name, { dtype, shape, data_offsets: [begin, (begin += bytes.byteLength)] });
  }
  const json = new TextEncoder().encode(`{${fields.join(',')}}`);
  const length = Math.ceil(json.byteLength / 8) * 8;
  const head = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true);
  head.set(json, LENGTH_BYTES);
  return [head, ...ordered.map(([, tensor]) => tensor.bytes)];
}

/** A whole file in memory. */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata?: ReadonlyMap<string, string>,
): Uint8Array<ArrayBuffer> {
  const pieces = safetensorsPieces(tensors, metadata);
  const file = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    file.set(piece, at);
    at += piece.byteLength;
  }
  return file;
}

/** The bytes as elements of `width` bytes: a view where they lie aligned, else of a copy. */
function aligned(bytes: Uint8Array, width: number): { buffer: ArrayBuffer; offset: number; length: number } {
  const whole = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  return { buffer: whole.buffer as ArrayBuffer, offset: whole.byteOffset, length: whole.byteLength / width };
}

type Elements =
  | (Float64Array | Float32Array | Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array)
  | (BigInt64Array | BigUint64Array);

/** The elements as they are stored: f16 and bf16 as bit patterns, 64-bit integers as bigint. Shares memory if aligned. */
export function storedElements({ dtype, bytes }: StoredTensor): Elements {
  const { buffer, offset, length } = aligned(bytes, BYTES[dtype]);
  switch (dtype) {
    case 'F64':
      return new Float64Array(buffer, offset, length);
    case 'F32':
      return new Float32Array(buffer, offset, length);
    case 'F16':
    case 'BF16':
    case 'U16':
      return new Uint16Array(buffer, offset, length);
    case 'I64':
      return new BigInt64Array(buffer, offset, length);
    case 'U64':
      return new BigUint64Array(buffer, offset, length);
    case 'I32':
      return new Int32Array(buffer, offset, length);
    case 'U32':
      return new Uint32Array(buffer, offset, length);
    case 'I16':
      return new Int16Array(buffer, offset, length);
    case 'I8':
      return new Int8Array(buffer, offset, length);
    case 'U8':
    case 'BOOL':
      return new Uint8Array(buffer, offset, length);
  }
}

/** The values as f32, whatever the dtype. Stored f32 is not copied: the result then shares the file's memory. */
export function toFloat32(tensor: StoredTensor): Float32Array<ArrayBuffer> {
  const elements = storedElements(tensor);
  if (elements instanceof Float32Array) return elements as Float32Array<ArrayBuffer>;
  const values = new Float32Array(elements.length);
  if (tensor.dtype === 'F16' || tensor.dtype === 'BF16') {
    const widen = tensor.dtype === 'F16' ? f16ToNumber : bfloatToNumber;
    for (let i = 0; i < values.length; i++) values[i] = widen(elements[i] as number);
  } else for (let i = 0; i < values.length; i++) values[i] = Number(elements[i]);
  return values;
}

/** The values as i32. Throws `dtype-mismatch` for floating point dtypes and for values beyond 32 bits. */
export function toInt32(tensor: StoredTensor, where: string): Int32Array<ArrayBuffer> {
  const elements = storedElements(tensor);
  const values = new Int32Array(elements.length);
  for (let i = 0; i < values.length; i++) values[i] = Number(elements[i]);
  const integral = !['F64', 'F32', 'F16', 'BF16'].includes(tensor.dtype);
  const misfit = integral ? values.findIndex((value, i) => value !== Number(elements[i])) : 0;
  if (integral && misfit < 0) return values;
  throw new DeitError('dtype-mismatch', 'This tensor does not hold 32-bit integers.', {
    where,
    expected: 'an integer dtype, values of 32 bits',
    found: integral ? `${elements[misfit]} at element ${misfit}` : tensor.dtype,
  });
}

/** f32 values as a tensor to store, rounded to a narrower float format if one is asked for. */
export function storeFloats(
  values: Float32Array,
  shape: Shape = [values.length],
  dtype: 'F32' | 'F16' | 'BF16' = 'F32',
): StoredTensor {
  if (dtype === 'F32') return storeElements('F32', values, shape);
  return storeElements(dtype, Uint16Array.from(values, dtype === 'F16' ? numberToF16 : numberToBfloat), shape);
}

/** Elements as they lie in memory as a tensor to store. */
export function storeElements(dtype: SafetensorsDType, elements: Elements, shape: Shape): StoredTensor {
  return { dtype, shape, bytes: new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength) };
}
