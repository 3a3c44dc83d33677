/** Shapes of two operands; the comment names the way in which the smaller one is read. */
export const BROADCAST_CASES: readonly (readonly [readonly number[], readonly number[]])[] = [
  [[1030], [1030]], // full
  [[3, 5], []], // one value
  [
    [1, 1],
    [2, 3, 4],
  ], // one value, on the left
  [[6, 8], [8]], // row
  [
    [2, 3, 4],
    [3, 4],
  ], // row of two dimensions
  [
    [1, 5, 8],
    [3, 5, 8],
  ], // row, on the left
  [[33, 65], [65]], // row that is not made of vectors: strided
  [
    [5, 8],
    [5, 1],
  ], // splat
  [
    [2, 3, 4, 4],
    [1, 3, 1, 1],
  ], // splat in the middle
  [
    [4, 7],
    [4, 1],
  ], // strided
  [
    [3, 1],
    [1, 5],
  ], // both strided
  [
    [2, 1, 4],
    [1, 3, 1],
  ], // strided and splat
  [
    [2, 3, 2, 3, 2, 3],
    [3, 1, 3, 1, 3],
  ], // six dimensions
];
