import { uniform } from '../support/close.ts';

/** A tensor to normalise along one of its dimensions. */
export interface RowCase {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dim: number;
  readonly data: Float32Array;
  /**
   * How much of the f32 precision of the input is lost to the formula itself: |offset| / |spread| of a row. Tolerances
   * are multiplied by it.
   */
  readonly loss: number;
}

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

let seed = 0;
function row(
  name: string,
  shape: readonly number[],
  options: { dim?: number; scale?: number; offset?: number } = {},
): RowCase {
  const { dim = -1, scale = 3, offset = 0 } = options;
  const data = uniform(product(shape), ++seed, scale).map((x) => x + offset);
  return { name, shape, dim, data, loss: Math.max(1, offset / scale) };
}
const constant = (name: string, shape: readonly number[], value: number): RowCase => ({
  name,
  shape,
  dim: -1,
  data: new Float32Array(product(shape)).fill(value),
  loss: 1,
});

/** Along the last dimension: any operator on rows. */
export const ROW_CASES: readonly RowCase[] = [
  row('one element', [1, 1]),
  row('one row of one vector', [1, 4]),
  row('rows of one element', [5, 1]),
  row('a vector', [7]),
  row('ragged', [3, 5]),
  row('ragged, longer than a subgroup', [9, 67]),
  row('tokens of DeiT-Ti', [2, 66, 192]),
  row('attention of 197 tokens', [2, 3, 11, 197]),
  row('many rows', [4001, 12]),
  row('many ragged rows', [2003, 13]),
  row('many rows of an even width', [1001, 66]),
  row('long, a multiple of four', [3, 2052]),
  row('long and ragged', [2, 4099]),
  row('small values', [6, 20], { scale: 1e-3 }),
  row('large values', [6, 20], { scale: 1e4 }),
  row('large values, ragged', [6, 21], { scale: 1e4 }),
  row('an offset much larger than the spread', [4, 16], { scale: 1, offset: 300 }),
  constant('equal rows', [4, 12], 2.5),
  constant('equal rows, ragged', [4, 13], -7),
  constant('zero', [2, 8], 0),
  // Rows that share vectors, whose last one ends within a vector, or with it.
  ...[17, 18, 19, 33, 34, 35, 198, 253].map((width) => row(`${width} wide`, [37, width])),
  row('ragged to the end of a vector', [36, 61]),
];

/** Along other dimensions. */
export const STRIDED_CASES: readonly RowCase[] = [
  row('columns', [5, 7], { dim: 0 }),
  row('columns of one element', [1, 9], { dim: 0 }),
  row('the middle', [3, 10, 4], { dim: 1 }),
  row('the first of four', [6, 2, 3, 5], { dim: -4 }),
  row('many columns', [12, 1031], { dim: 0 }),
];
