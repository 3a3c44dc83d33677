/**
 * Global norm of a flat gradient buffer: norm = [sqrt(sum g^2), number of elements that are NaN or infinite].
 *
 * Sums are taken in a fixed order, so the result is the same to the bit every time. Non-finite elements are found by their
 * exponent bits (compilers may assume that there are none) and left out of the sum; if the sum itself overflows, that counts
 * as one more.
 *
 * Cost: 2 FLOP per element, which is read once. `deit kernel grad_norm` shows the kernels.
 */
import { BLOCK_ELEMENTS } from '../../lib/flat-update.ts';
import { require } from '../../lib/kernel.ts';
import { plain } from '../../lib/plain.ts';
import { kernelOf } from '../../lib/variant.ts';
import { gradNormPlain, LONGEST_PLAIN } from './plain.ts';
import type { GradNormProblem } from './problem.ts';
import { strips } from './strips.ts';

export type { GradNormProblem } from './problem.ts';

function checked(problem: GradNormProblem): GradNormProblem {
  const { n } = problem;
  require(n > 0 && n % BLOCK_ELEMENTS === 0, 'grad_norm', 'n is a positive multiple of 64', n);
  return problem;
}

const plainVariant = plain<GradNormProblem>(({ n }) => 4 * n, gradNormPlain);

/** Bindings: gradients (flat f32), blocks (lib/flat-update.ts), norm (2 x f32). */
export const gradNorm = kernelOf<GradNormProblem>('grad_norm', checked, [
  { name: 'strips', fits: () => true, launches: strips },
  { ...plainVariant, fits: (problem, device) => problem.n <= LONGEST_PLAIN && plainVariant.fits(problem, device) },
]);
