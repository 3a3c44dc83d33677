/**
 * Stochastic depth (Huang et al., 2016) over x [samples, inner]: dropout with one word per sample (lib/philox.ts), so that
 * samples are kept or dropped whole.
 *
 *   dropPath      y = x / (1 - rate) where word number (sample), as a uniform number, is at least rate, else 0
 *   dropPathAdd   y = residual + dropPath(x)
 *
 * Where the branch ends in a product, that adds it to the residual itself, and asks for the factors alone (scales.ts).
 * Nothing is kept for the backward pass: dx is dropPath of dy, the gradient of the residual is dy.
 * Cost: one multiplication per element, one addition more with a residual; memory traffic decides.
 * `deit kernel drop_path` shows the kernels.
 */
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { dropPathBySample } from './by-sample.ts';
import { dropPathPlain } from './plain.ts';
import { checked } from './problem.ts';
import type { DropPathProblem } from './problem.ts';

export type { DropPathProblem } from './problem.ts';
export { dropPathScales } from './scales.ts';

/** Bindings x, y, step, and residual if `add`. */
export const dropPath = kernelOf<DropPathProblem>('drop_path', checked, [
  { name: 'by_sample', fits: () => true, launches: dropPathBySample },
  plain(({ samples, inner }) => 4 * samples * inner, dropPathPlain),
]);
