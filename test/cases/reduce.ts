/** Shapes and the dimensions to reduce; between them every variant of the kernel on every kind of device. */
export const REDUCE_CASES: readonly {
  readonly shape: readonly number[];
  readonly dims: readonly number[] | undefined;
}[] = [
  { shape: [], dims: undefined },
  { shape: [1], dims: [0] },
  { shape: [7], dims: undefined },
  { shape: [5, 1], dims: [1] },
  { shape: [64], dims: [0] },
  { shape: [3, 37], dims: [-1] },
  { shape: [5, 132], dims: [1] },
  { shape: [700, 3], dims: [0] },
  { shape: [197, 192], dims: [0] },
  { shape: [2, 50, 36], dims: [0, 1] },
  { shape: [2, 3, 4, 5], dims: [0, 2, 3] },
  { shape: [2, 3, 4, 5], dims: [-1, -3] },
  { shape: [3, 4, 2, 4], dims: [1] },
  { shape: [30_011], dims: [0] },
  { shape: [600, 100], dims: undefined },
];
