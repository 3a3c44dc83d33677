/**
 * Variables of a MATLAB file (level 5, as `save` writes it up to -v7): structures, cells, text and numbers, as far as
 * annotations need them. Source: MathWorks, MAT-File Format, chapter 1. Node only.
 */
import { inflateSync } from 'node:zlib';

export type MatValue = string | number[] | MatValue[] | MatRecord[];
export interface MatRecord {
  readonly [field: string]: MatValue;
}

const Type = { matrix: 14, compressed: 15 } as const;
const Class = { cell: 1, struct: 2, char: 4 } as const;
/** More, decompressed, is no annotation. */
const MOST_BYTES = 2 ** 28;

interface Element {
  readonly type: number;
  readonly data: DataView;
  /** Where the next one begins. */
  readonly end: number;
}

/** All variables by name. Throws a plain Error for what is no such file, or is cut short. */
export function readMat(bytes: Uint8Array): Map<string, MatValue> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 128) throw new Error('a file shorter than its header');
  if (String.fromCharCode(bytes[126], bytes[127]) !== 'IM') {
    throw new Error('no MATLAB file of level 5 (HDF5 of -v7.3 and big-endian files are not read)');
  }
  const variables = new Map<string, MatValue>();
  for (let at = 128; at + 8 <= view.byteLength;) {
    const outer = elementAt(view, at, false);
    at = outer.end;
    const element = outer.type === Type.compressed ? elementAt(inflated(outer.data), 0, true) : outer;
    if (element.type !== Type.matrix)
      throw new Error(`an element of type ${element.type} where a variable is expected`);
    const { name, value } = readMatrix(element.data);
    variables.set(name, value);
  }
  return variables;
}

const inflated = ({ buffer, byteOffset, byteLength }: DataView): DataView => {
  const data = inflateSync(new Uint8Array(buffer, byteOffset, byteLength), { maxOutputLength: MOST_BYTES });
  return new DataView(data.buffer, data.byteOffset, data.length);
};

/** An element's tag is two words, or one with its length in the upper half and four bytes of data after it. */
function elementAt(view: DataView, at: number, isPadded: boolean): Element {
  const word = view.getUint32(at, true);
  if (word >>> 16 !== 0) return { type: word & 0xffff, data: part(view, at + 4, word >>> 16), end: at + 8 };
  const length = view.getUint32(at + 4, true);
  const end = at + 8 + (isPadded ? Math.ceil(length / 8) * 8 : length);
  return { type: word, data: part(view, at + 8, length), end };
}

const part = (view: DataView, at: number, length: number): DataView => new DataView(view.buffer, view.byteOffset + at, within(view, at, length)); // prettier-ignore

function within(view: DataView, at: number, length: number): number {
  if (at + length > view.byteLength) throw new Error('an element that is cut short');
  return length;
}

function readMatrix(view: DataView): { name: string; value: MatValue } {
  let at = 0;
  const next = (): Element => {
    const element = elementAt(view, at, true);
    at = element.end;
    return element;
  };
  // Empty cells and fields may be matrices without any element.
  if (view.byteLength === 0) return { name: '', value: [] };
  const kind = next().data.getUint32(0, true) & 0xff;
  const count = integers(next()).reduce((product, size) => product * size, 1);
  const name = String.fromCharCode(...integers(next()));
  const inner = (): MatValue => {
    const element = next();
    if (element.type !== Type.matrix) throw new Error('a value that is no matrix');
    return readMatrix(element.data).value;
  };
  const several = <Item>(make: () => Item): Item[] => {
    if (count * 8 > view.byteLength) throw new Error('more values than bytes');
    return Array.from({ length: count }, make);
  };
  if (kind === Class.cell) return { name, value: several(inner) };
  if (kind === Class.struct) {
    const [width] = integers(next());
    const text = String.fromCharCode(...integers(next()));
    if (!(width > 0)) throw new Error('fields without names');
    const fields = Array.from({ length: Math.floor(text.length / width) }, (_, i) => text.slice(i * width, (i + 1) * width).replace(/\0[^]*$/, '')); // prettier-ignore
    return { name, value: several(() => Object.fromEntries(fields.map((field) => [field, inner()]))) };
  }
  const numbers = integers(next());
  if (kind !== Class.char) return { name, value: numbers };
  let text = '';
  for (const code of numbers) text += String.fromCharCode(code);
  return { name, value: text };
}

/** The numbers of an element, whatever type they are stored in. */
function integers({ type, data }: Element): number[] {
  const read: Readonly<Record<number, readonly [size: number, at: (i: number) => number]>> = {
    1: [1, (i) => data.getInt8(i)],
    2: [1, (i) => data.getUint8(i)],
    3: [2, (i) => data.getInt16(2 * i, true)],
    4: [2, (i) => data.getUint16(2 * i, true)],
    5: [4, (i) => data.getInt32(4 * i, true)],
    6: [4, (i) => data.getUint32(4 * i, true)],
    7: [4, (i) => data.getFloat32(4 * i, true)],
    9: [8, (i) => data.getFloat64(8 * i, true)],
    12: [8, (i) => Number(data.getBigInt64(8 * i, true))],
    13: [8, (i) => Number(data.getBigUint64(8 * i, true))],
    16: [1, (i) => data.getUint8(i)],
    17: [2, (i) => data.getUint16(2 * i, true)],
  };
  if (!Object.hasOwn(read, type)) throw new Error(`numbers of type ${type}`);
  const [size, valueAt] = read[type];
  return Array.from({ length: Math.floor(data.byteLength / size) }, (_, i) => valueAt(i));
}
