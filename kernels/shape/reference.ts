import type { PadProblem, StridedProblem } from './index.ts';

/** The index in the strided tensor of each element of the contiguous one, in order. */
function addresses({ dims, offset }: StridedProblem): number[] {
  let places = [offset];
  for (const { size, stride } of dims) {
    places = places.flatMap((place) => Array.from({ length: size }, (_, i) => place + i * stride));
  }
  return places;
}

/** y[i0, i1, ...] = x[offset + sum_d i_d stride_d]. */
export const stridedLoadReference = (problem: StridedProblem, x: ArrayLike<number>): number[] =>
  addresses(problem).map((place) => x[place]);

/** y after y[offset + sum_d i_d stride_d] = x[i0, i1, ...]. */
export function stridedStoreReference(problem: StridedProblem, x: ArrayLike<number>, y: ArrayLike<number>): number[] {
  const result = Array.from(y);
  addresses(problem).forEach((place, i) => (result[place] = x[i]));
  return result;
}

/** x [outer, rows, columns] with zeros around each matrix. */
export function padReference(
  { outer, rows, columns, left, right, top, bottom }: PadProblem,
  x: ArrayLike<number>,
): number[] {
  const y: number[] = [];
  for (let o = 0; o < outer; o++) {
    for (let r = -top; r < rows + bottom; r++) {
      for (let c = -left; c < columns + right; c++) {
        const isInside = r >= 0 && r < rows && c >= 0 && c < columns;
        y.push(isInside ? x[(o * rows + r) * columns + c] : 0);
      }
    }
  }
  return y;
}
