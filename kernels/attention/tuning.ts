import type { Tuning } from '../lib/variant.ts';
import { PARTS } from './problem.ts';
import type { AttentionPart, AttentionProblem } from './problem.ts';

/** What a part writes that does not depend on the variant: stats do, by any number near the largest score. */
const RESULTS = { forward: ['y'], query: ['dqkv', 'delta'], keyValue: ['dqkv'] };

export const attentionTuning = (part: AttentionPart): Tuning<AttentionProblem> => ({
  flops: ({ batch, tokens, heads, width }) => 2 * PARTS[part].products * batch * heads * tokens * tokens * width,
  describe: ({ batch, tokens, heads, width }) => `attention (${part}) ${batch}x${heads}x${tokens}x${width}`,
  tensors({ batch, tokens, heads, width, f16 }) {
    const dtype = f16 ? 'f16' : 'f32';
    const rows = batch * heads * tokens;
    const [fused, merged] = [3, 1].map((parts) => ({ elements: parts * rows * width, dtype }) as const);
    // The running max and the scale of a row's probabilities may be any numbers near 1 for the gradients' kernels.
    const all = {
      qkv: fused,
      y: merged,
      dy: merged,
      stats: { elements: 2 * rows },
      delta: { elements: rows },
      dqkv: fused,
    };
    const bound = PARTS[part].bindings('f32').map(({ name }) => name);
    return Object.fromEntries(Object.entries(all).filter(([name]) => bound.includes(name)));
  },
  results: RESULTS[part],
  // The rounding of scores, which are sums of d products, and of sums over tokens. To f16, results of both variants are
  // rounded, and probabilities of one at most: in the norm each is off by some 0.4 of the largest error.
  tolerance: ({ width, tokens, f16 }) =>
    2 ** -24 * (64 + 64 * Math.sqrt(width) + 2 * Math.sqrt(tokens)) + (f16 ? 2 ** -11 : 0),
});
