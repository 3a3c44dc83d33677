import { expect, it } from 'vitest';
import { imageChunks } from '../../kernels/attention/problem.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';

it.each([
  { f16: false, qkv: 4608, y: 1536, maxBindingSize: 10_000 },
  { f16: true, qkv: 2304, y: 768, maxBindingSize: 5_000 },
])(
  'attention over many images begins each tensor where its image begins, f16: $f16',
  ({ f16, qkv, y, maxBindingSize }) => {
    // 32 tokens, 3 heads of width 4: two f32 statistics and one sum (delta) a token and head, in f16 too.
    const [stats, delta] = [768, 384];
    const problem = { batch: 5, tokens: 32, heads: 3, width: 4, f16 };
    const names = ['qkv', 'dqkv', 'y', 'dy', 'stats', 'delta'];
    const device = { ...deviceProfiles.gpu, maxBindingSize };
    const bytes = { qkv, dqkv: qkv, y, dy: y, stats, delta };
    // Two images fit, and two begin on a multiple of 256 bytes in each tensor.
    const runs = [0, 2, 4].map((start) => {
      const rows = Math.min(2, 5 - start);
      const ranges = Object.entries(bytes).map(([name, own]) => [name, { offset: start * own, size: rows * own }]);
      return { start, rows, ranges: Object.fromEntries(ranges) as object };
    });
    expect(imageChunks(problem, names, device)).toEqual(runs);
  },
);
