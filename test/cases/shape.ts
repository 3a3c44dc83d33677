/** Shapes and orders of dimensions: views, vectors, blocks turned in registers, and words one by one. */
export const PERMUTE_CASES: readonly { readonly shape: readonly number[]; readonly dims: readonly number[] }[] = [
  { shape: [5], dims: [0] },
  { shape: [1, 5, 1], dims: [1, 2, 0] },
  { shape: [33, 65], dims: [1, 0] },
  { shape: [36, 68], dims: [1, 0] },
  { shape: [3, 40, 8], dims: [0, 2, 1] },
  { shape: [2, 5, 6], dims: [0, 2, 1] },
  { shape: [2, 7, 3, 2, 8], dims: [2, 0, 3, 1, 4] },
  { shape: [2, 3, 4, 5], dims: [3, 2, 1, 0] },
  { shape: [2, 3, 2, 3, 2, 3], dims: [5, 3, 1, 4, 2, 0] },
  { shape: [4, 4, 4], dims: [2, 0, -2] },
];

export const SLICE_CASES: readonly {
  readonly shape: readonly number[];
  readonly dim: number;
  readonly start: number;
  readonly end: number;
}[] = [
  { shape: [7], dim: 0, start: 2, end: 5 },
  { shape: [3, 6, 8], dim: 1, start: 1, end: 4 },
  { shape: [3, 6, 8], dim: -1, start: 4, end: 8 },
  { shape: [3, 6, 8], dim: 2, start: 3, end: -1 },
  { shape: [3, 6, 7], dim: 0, start: -2, end: 100 },
  { shape: [3, 5], dim: 1, start: 0, end: 5 },
  { shape: [3, 5], dim: 1, start: 4, end: 2 },
];

export const CAT_CASES: readonly { readonly shapes: readonly (readonly number[])[]; readonly dim: number }[] = [
  { shapes: [[3]], dim: 0 },
  { shapes: [[3], [4], [1]], dim: -1 },
  {
    shapes: [
      [2, 1, 8],
      [2, 5, 8],
    ],
    dim: 1,
  },
  {
    shapes: [
      [2, 3, 3],
      [2, 3, 5],
      [2, 3, 1],
    ],
    dim: 2,
  },
  {
    shapes: [
      [0, 4],
      [2, 4],
    ],
    dim: 0,
  },
];

export const PAD_CASES: readonly { readonly shape: readonly number[]; readonly padding: readonly number[] }[] = [
  { shape: [3, 5], padding: [1, 2, 3, 4] },
  { shape: [2, 3, 8], padding: [4, 0, 0, 1] },
  { shape: [2, 2, 6, 4], padding: [0, 0, 2, 0] },
  { shape: [1, 1], padding: [0, 0, 0, 0] },
  { shape: [2, 3, 32, 32], padding: [4, 4, 4, 4] },
];
