/** Arrays in row-major order, for references written with plain loops over indices. */

export type Sizes = readonly number[];

export const product = (sizes: Sizes): number => sizes.reduce((a, b) => a * b, 1);

/** Every index of an array of this shape, in order. */
export function* indices(shape: Sizes): Generator<number[]> {
  const n = product(shape);
  for (let i = 0; i < n; i++) yield unravel(i, shape);
}

export function unravel(i: number, shape: Sizes): number[] {
  const index: number[] = [];
  for (let d = shape.length - 1; d >= 0; d--) {
    index.unshift(i % shape[d]);
    i = Math.floor(i / shape[d]);
  }
  return index;
}

/** Where the element at `index` lies in an array of this shape, which is broadcast (sizes 1 and missing dimensions). */
export function ravel(index: readonly number[], shape: Sizes): number {
  const lead = index.length - shape.length;
  return shape.reduce((at, size, d) => at * size + (size === 1 ? 0 : index[lead + d]), 0);
}
