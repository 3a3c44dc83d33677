/**
 * The order of lines: y[o, k, i] = the r (i32) of the k-th element of x[o, :, i] in ascending or descending order, for x
 * [outer, length, inner] in f32. Stable: equal elements stay in the order of r. NaN counts as larger than everything.
 *
 * `bitonic` sorts pairs of a key, whose unsigned order is that of the elements, and r, by Batcher's network (1968): in shared
 * memory as far as blocks of 2048 pairs reach, in global memory beyond. Lines are filled up to a power of two with keys that
 * come last. `plain` counts for each element those that come before it.
 *
 * No gradient: the values are gathered by the indices, and gather has one (../gather).
 *
 * Cost: log2(length)^2 / 2 passes over the pairs, most of them in shared memory. `deit kernel argsort` shows the kernels.
 */
import { require } from '../lib/kernel.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { bitonic } from './bitonic.ts';
import { sortPlain } from './plain.ts';
import type { SortProblem } from './problem.ts';

export type { SortProblem } from './problem.ts';

function checked(problem: SortProblem): SortProblem {
  const { outer, length, inner } = problem;
  require(outer * length * inner > 0, 'argsort', 'no empty dimension', problem);
  return problem;
}

/** Bindings x, y. */
export const argsort = kernelOf<SortProblem>('argsort', checked, [
  { name: 'bitonic', fits: () => true, launches: bitonic },
  plain(({ outer, length, inner }) => 4 * outer * length * inner, sortPlain),
]);
