import type { MixParameters } from '../../deit/data/index.ts';

/** How a batch is mixed, and the same as the row that kernels read. */
export const MIX_CASES: [MixParameters, number[]][] = [
  [{ kind: 'none', lambda: 1 }, [0, 1, 0, 0, 0, 0]],
  [{ kind: 'mixup', lambda: 0.3 }, [1, 0.3, 0, 0, 0, 0]],
  [{ kind: 'cutmix', lambda: 0.8, box: { top: 1, left: 2, bottom: 4, right: 6 } }, [2, 0.8, 1, 2, 4, 6]],
];
