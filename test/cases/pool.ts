import type { WindowProblem } from '../../kernels/lib/window.ts';

/** Windows of pooling. Where they are rounded up, the last ones reach beyond the padding. */
export const POOL_CASES: readonly { name: string; problem: WindowProblem }[] = [
  {
    name: 'windows of 3 with padding',
    problem: {
      ...{ planes: 3, height: 7, width: 9, windows: [4, 5] },
      ...{ kernel: [3, 3], stride: [2, 2], padding: [1, 1], dilation: [1, 1] },
    },
  },
  {
    name: 'oblong windows, apart',
    problem: {
      ...{ planes: 2, height: 6, width: 10, windows: [3, 3] },
      ...{ kernel: [1, 2], stride: [2, 4], padding: [0, 0], dilation: [1, 1] },
    },
  },
  {
    name: 'rounded up',
    problem: {
      ...{ planes: 1, height: 6, width: 6, windows: [3, 3] },
      ...{ kernel: [3, 3], stride: [2, 2], padding: [0, 0], dilation: [1, 1] },
    },
  },
  {
    name: 'dilated',
    problem: {
      ...{ planes: 2, height: 8, width: 7, windows: [6, 7] },
      ...{ kernel: [2, 3], stride: [1, 1], padding: [0, 1], dilation: [2, 1] },
    },
  },
  {
    name: 'one pixel',
    problem: {
      ...{ planes: 1, height: 1, width: 1, windows: [1, 1] },
      ...{ kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1] },
    },
  },
];
