/**
 * y[o, r, i] = x[o, 0, i] + ... + x[o, r, i], for x [outer, length, inner]; reversed, the sums begin at the end:
 * y[o, r, i] = x[o, r, i] + ... + x[o, length - 1, i], which is the gradient.
 *
 * Cost: one addition per element; x is read and y written once (`scan` reads x twice). `deit kernel cumsum` shows the kernels.
 */
import { require } from '../lib/kernel.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { cumsumPlain } from './plain.ts';
import type { CumsumProblem } from './problem.ts';
import { scan } from './scan.ts';

export type { CumsumProblem } from './problem.ts';

function checked(problem: CumsumProblem): CumsumProblem {
  const { outer, length, inner } = problem;
  require(outer * length * inner > 0, 'cumsum', 'no empty dimension', problem);
  return problem;
}

/** Bindings x, y. */
export const cumsum = kernelOf<CumsumProblem>('cumsum', checked, [
  { name: 'scan', fits: () => true, launches: scan },
  plain(({ outer, length, inner }) => 4 * outer * length * inner, cumsumPlain),
]);
