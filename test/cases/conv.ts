import type { ConvProblem } from '../../kernels/conv2d/index.ts';

/** Convolutions that tests and benchmarks share. */
export interface ConvCase {
  readonly name: string;
  /** [batch, channels, height, width] */
  readonly x: readonly [number, number, number, number];
  /** [filters, channels / groups, height, width] */
  readonly weight: readonly [number, number, number, number];
  readonly bias?: boolean;
  readonly stride?: number;
  readonly padding?: number;
  readonly groups?: number;
}

export const CONV_CASES: readonly ConvCase[] = [
  { name: 'one number', x: [1, 1, 1, 1], weight: [1, 1, 1, 1], bias: true },
  { name: '1x1 on whole vectors of pixels', x: [2, 12, 4, 6], weight: [20, 12, 1, 1] },
  { name: '1x1, 16 filters at a time', x: [3, 8, 2, 2], weight: [32, 8, 1, 1], bias: true },
  { name: '1x1 in groups', x: [2, 6, 4, 4], weight: [9, 2, 1, 1], groups: 3 },
  { name: '1x1 on an odd number of pixels', x: [2, 5, 3, 5], weight: [7, 5, 1, 1], bias: true },
  { name: '1x1, stride 2', x: [2, 6, 5, 4], weight: [9, 6, 1, 1], stride: 2 },
  { name: '1x1 on single pixels', x: [5, 24, 1, 1], weight: [6, 24, 1, 1], bias: true },
  { name: '1x1 on single pixels, 6 channels', x: [3, 6, 1, 1], weight: [24, 6, 1, 1], bias: true },
  { name: '3x3 in groups on single pixels', x: [5, 16, 1, 1], weight: [16, 8, 3, 3], padding: 1, groups: 2 },
  { name: '3x3 in groups, rows of vectors', x: [2, 24, 5, 8], weight: [24, 8, 3, 3], padding: 1, groups: 3 },
  { name: '3x3 in groups of 3 to 5, rows of vectors', x: [2, 6, 4, 4], weight: [10, 3, 3, 3], padding: 1, groups: 2 },
  { name: '3x3, depthwise', x: [2, 5, 6, 4], weight: [5, 1, 3, 3], padding: 1, groups: 5, bias: true },
  { name: '3x3 in groups, odd width', x: [2, 16, 7, 7], weight: [16, 8, 3, 3], padding: 1, groups: 2 },
  { name: '3x3 in groups, stride 2', x: [2, 16, 8, 8], weight: [16, 8, 3, 3], stride: 2, padding: 1, groups: 2 },
  { name: '3x3 in groups, stride 2, to one pixel', x: [3, 8, 2, 2], weight: [8, 8, 3, 3], stride: 2, padding: 1 },
  { name: '3x3 in groups of 24', x: [1, 48, 4, 4], weight: [48, 24, 3, 3], padding: 1, groups: 2 },
  { name: 'a stem', x: [2, 3, 10, 12], weight: [32, 3, 3, 3], stride: 2, padding: 1 },
  { name: '3x3 without padding', x: [2, 3, 6, 8], weight: [4, 3, 3, 3] },
  { name: '5x3, stride 3, padding 2', x: [2, 4, 8, 9], weight: [6, 2, 5, 3], stride: 3, padding: 2, groups: 2 },
  { name: '2x4, padding above the kernel', x: [1, 2, 3, 4], weight: [3, 2, 2, 4], padding: 4, bias: true },
  { name: 'pixels between strides that nothing reads', x: [2, 3, 7, 8], weight: [5, 3, 2, 2], stride: 4 },
  { name: '7x7, stride 2', x: [1, 3, 14, 13], weight: [8, 3, 7, 7], stride: 2, padding: 3 },
  { name: 'many images, long sums', x: [40, 8, 8, 8], weight: [8, 8, 3, 3], padding: 1 },
  { name: '1x1, stride 2, 36 channels to 68', x: [3, 36, 9, 10], weight: [68, 36, 1, 1], stride: 2, bias: true },
  {
    name: '3x3 in groups of 24 to 72, stride 2',
    x: [2, 48, 9, 9],
    weight: [144, 24, 3, 3],
    stride: 2,
    padding: 1,
    groups: 2,
  },
  { name: '1x1 on many vectors of pixels', x: [3, 6, 16, 16], weight: [10, 6, 1, 1] },
];

export const convProblemOf = ({ x, weight, stride = 1, padding = 0, groups = 1 }: ConvCase): ConvProblem => ({
  batch: x[0],
  channels: x[1],
  height: x[2],
  width: x[3],
  filters: weight[0],
  kernelHeight: weight[2],
  kernelWidth: weight[3],
  stride,
  padding,
  groups,
});
