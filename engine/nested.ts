/** Numbers as nested arrays, and what is shown of them. */
import { DeitError } from '../kernels/lib/errors.ts';
import type { Shape } from './tensor-shape.ts';

/** A number, or an array of as many as its neighbours have, to any depth. */
export type NestedArray = number | NestedArray[];

/** What tensors are made from: a number, numbers in row-major order, or nested arrays of numbers. Rows may be typed arrays. */
export type TensorData = number | ArrayLike<number> | readonly TensorData[];

/** The numbers in row-major order, and the shape that their nesting has. Throws `bad-argument` for ragged or other things. */
export function flatten(data: TensorData, where: string): { values: ArrayLike<number>; shape: number[] } {
  if (typeof data === 'number') return { values: [data], shape: [] };
  if (ArrayBuffer.isView(data) && isList(data)) return { values: numbersOf(data), shape: [data.length] };
  const shape: number[] = [];
  for (let level: unknown = data; isList(level); level = level[0]) shape.push(level.length);
  if (shape.length === 1) {
    const flat = data as ArrayLike<number>;
    for (let i = 0; i < flat.length; i++) expectNumber(flat[i], where, [i]);
    return { values: flat, shape };
  }
  const values: number[] = [];
  const visit = (item: unknown, at: readonly number[]): void => {
    const depth = at.length;
    if (depth === shape.length) {
      expectNumber(item, where, at);
      values.push(item);
      return;
    }
    if (!isList(item) || item.length !== shape[depth]) {
      throw new DeitError('bad-argument', 'The nested arrays are ragged.', {
        where: `${where}, data${path(at)}`,
        expected: `${shape[depth]} elements, as the first has`,
        found: isList(item) ? `${item.length} elements` : describe(item),
      });
    }
    for (let i = 0; i < item.length; i++) visit(item[i], [...at, i]);
  };
  visit(data, []);
  return { values, shape };
}

const isList = (value: unknown): value is ArrayLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { length?: unknown }).length === 'number';

/** The elements of a typed array; 64-bit integers as numbers. */
const numbersOf = (data: unknown): ArrayLike<number> =>
  data instanceof BigInt64Array || data instanceof BigUint64Array
    ? Array.from(data, Number)
    : (data as ArrayLike<number>);

const path = (at: readonly number[]): string => at.map((i) => `[${i}]`).join('');

const describe = (value: unknown): string =>
  value === null || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : typeof value === 'string'
      ? JSON.stringify(value.slice(0, 40))
      : Array.isArray(value)
        ? `an array of ${value.length}`
        : typeof value;

function expectNumber(value: unknown, where: string, at: readonly number[]): asserts value is number {
  if (typeof value === 'number') return;
  throw new DeitError('bad-argument', 'A tensor is made from numbers.', {
    where: `${where}, data${path(at)}`,
    expected: isList(value) ? 'a number, as the first element is' : 'a number',
    found: describe(value),
  });
}

/** Numbers in row-major order as nested arrays of a shape; a number for the shape []. */
export function nest(values: ArrayLike<number>, shape: Shape): NestedArray {
  let next = 0;
  const level = (depth: number): NestedArray =>
    depth === shape.length ? values[next++] : Array.from({ length: shape[depth] }, () => level(depth + 1));
  return level(0);
}

/** As PyTorch: tensors of more elements are shown by the first and last few of each dimension. */
const MOST_SHOWN = 1000;
const EDGE = 3;

/** What is shown of a tensor: all of it, or the first and last few of each dimension. */
export interface Glimpse {
  readonly values: readonly number[];
  readonly shape: Shape;
  /** That of the whole tensor. */
  readonly of: Shape;
}

export function glimpse(values: ArrayLike<number>, of: Shape): Glimpse {
  if (values.length <= MOST_SHOWN) return { values: Array.from(values), shape: of, of };
  const shape = of.map((size) => Math.min(size, 2 * EDGE));
  const shown: number[] = [];
  const visit = (depth: number, offset: number): void => {
    if (depth === of.length) {
      shown.push(values[offset]);
      return;
    }
    for (let i = 0; i < shape[depth]; i++) {
      const index = i < EDGE ? i : of[depth] - shape[depth] + i;
      visit(depth + 1, offset * of[depth] + index);
    }
  };
  visit(0, 0);
  return { values: shown, shape, of };
}

/** Whole numbers as they are, others in four digits; never zeros in place of digits that are not known. */
function formatValue(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e10) return String(value);
  const short = Number(value.toPrecision(4));
  return Number.isFinite(short) && Math.abs(short) >= 1e4 ? value.toExponential(3) : String(short);
}

/** The values in brackets, with dots where some are left out. */
export function formatGlimpse({ values, shape, of }: Glimpse): string {
  let next = 0;
  const level = (depth: number): string => {
    if (depth === shape.length) return formatValue(values[next++]);
    const items = Array.from({ length: shape[depth] }, () => level(depth + 1));
    if (shape[depth] < of[depth]) items.splice(EDGE, 0, '...');
    // Rows stand below each other.
    return `[${items.join(depth === shape.length - 1 ? ', ' : `,\n${' '.repeat(depth + 1)}`)}]`;
  };
  return level(0);
}
