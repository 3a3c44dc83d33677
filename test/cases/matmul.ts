/** Problems of the matrix product that tests and benchmarks share. */
export interface MatmulCase {
  readonly name: string;
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

const LAYOUTS = [
  [false, false],
  [false, true],
  [true, false],
  [true, true],
] as const;

/** Sizes around every tile edge: one, odd, a little under and over powers of two, token counts of DeiT. */
const SIZES: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [2, 3, 5],
  [7, 5, 2],
  [1, 192, 10],
  [5, 64, 1],
  [31, 33, 31],
  [33, 31, 65],
  [64, 64, 64],
  [65, 7, 127],
  [127, 65, 33],
  [197, 64, 197],
  [198, 12, 68],
  [36, 198, 64],
];

export const MATMUL_CASES: readonly MatmulCase[] = [
  ...LAYOUTS.flatMap(([transposeA, transposeB]) =>
    SIZES.map(([m, k, n]) => ({
      name: `${m} x ${k} x ${n}, transposed ${Number(transposeA)}${Number(transposeB)}`,
      a: transposeA ? [k, m] : [m, k],
      b: transposeB ? [n, k] : [k, n],
      transposeA,
      transposeB,
    })),
  ),
  ...LAYOUTS.flatMap(([transposeA, transposeB]) => {
    const [a, b] = [transposeA ? [9, 35] : [35, 9], transposeB ? [18, 9] : [9, 18]];
    const both = { transposeA, transposeB };
    const layout = `transposed ${Number(transposeA)}${Number(transposeB)}`;
    return [
      { name: `batch of 3, ${layout}`, a: [3, ...a], b: [3, ...b], ...both },
      { name: `one b for 3, ${layout}`, a: [3, ...a], b, ...both },
      { name: `one a for 3, ${layout}`, a, b: [3, ...b], ...both },
      { name: `batches 2x1 and 1x3, ${layout}`, a: [2, 1, ...a], b: [1, 3, ...b], ...both },
      { name: `batches 2x1x2x1 and 3x1x2, ${layout}`, a: [2, 1, 2, 1, ...a], b: [3, 1, 2, ...b], ...both },
    ];
  }),
  { name: 'many rows, b worth laying out anew', a: [160, 128], b: [128, 132] },
  { name: 'many rows, all odd', a: [161, 129], b: [129, 131] },
  { name: 'many rows, all odd, b transposed', a: [161, 129], b: [131, 129], transposeB: true },
  { name: 'many rows, all odd, a transposed', a: [129, 161], b: [129, 131], transposeA: true },
  { name: 'many rows, all odd, both transposed', a: [129, 161], b: [131, 129], transposeA: true, transposeB: true },
  { name: 'many rows and columns', a: [1100, 12], b: [520, 12], transposeB: true },
  { name: 'many rows and columns, odd', a: [1101, 13], b: [521, 13], transposeB: true },
  { name: 'many rows of a batch', a: [2, 100, 128], b: [160, 128], transposeB: true },
  { name: 'long sum', a: [12, 5000], b: [5000, 20] },
  { name: 'long sum, a transposed', a: [5000, 24], b: [5000, 40], transposeA: true },
];
