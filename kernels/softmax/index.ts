/**
 * Softmax and its logarithm over the rows of a tensor [outer, width, inner] (lib/row-plan.ts):
 *
 *     softmax:     y = exp(x - m) / s          dx = y (dy - sum(y dy))
 *     log-softmax: y = x - m - log(s)          dx = dy - exp(y) sum(dy)
 *
 * with m = max(x) and s = sum(exp(x - m)) of the row. Backward needs y alone. Gradients are written. A NaN makes all of
 * its row NaN: not by the built-in exp, which may lose it.
 * Cost: 8 FLOP per element forward, 4 backward (log-softmax: 7); memory traffic decides. `deit kernel softmax` shows the kernels.
 */
import { plain } from '../lib/plain.ts';
import { rowVariants } from '../lib/row-plan.ts';
import { kernelOf } from '../lib/variant.ts';
import { backwardPlain, forwardPlain } from './plain.ts';
import { checked, elementsOf } from './problem.ts';
import type { SoftmaxProblem } from './problem.ts';
import { backwardOverRows, forwardOverRows } from './rows.ts';

export type { SoftmaxProblem } from './problem.ts';

const bytes = (problem: SoftmaxProblem): number => 4 * elementsOf(problem);

/** Bindings: x, y. */
export const softmaxForward = kernelOf<SoftmaxProblem>('softmax.forward', checked, [
  ...rowVariants<SoftmaxProblem>((problem) => problem, 'unaligned', forwardOverRows),
  plain(bytes, forwardPlain),
]);

/** Bindings: y, dy, dx. */
export const softmaxBackward = kernelOf<SoftmaxProblem>('softmax.backward', checked, [
  ...rowVariants<SoftmaxProblem>((problem) => problem, 'unaligned', backwardOverRows),
  plain(bytes, backwardPlain),
]);
