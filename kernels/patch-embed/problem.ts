import { bytesOfElement } from '../lib/f16-storage.ts';
import type { Cost } from '../lib/kernel.ts';

/** Sizes and storage of a patch embedding: x [batch, channels, gridHeight patch, gridWidth patch], w [width, channels, patch, patch]. */
export interface PatchEmbedProblem {
  readonly batch: number;
  readonly channels: number;
  /** Patches down and across. */
  readonly gridHeight: number;
  readonly gridWidth: number;
  readonly patch: number;
  readonly width: number;
  /** Bindings that are f16 in memory; sums are f32 all the same. */
  readonly half?: readonly ('x' | 'w' | 'dx')[];
}

/** Of a pass over an image (x or dx), tokens, and a weight or the gradient of one. */
export function patchEmbedCost(problem: PatchEmbedProblem, image: 'x' | 'dx', weight: 'w' | 'partials'): Cost {
  const { batch, gridHeight, gridWidth, channels, patch, width, half } = problem;
  const patches = batch * gridHeight * gridWidth;
  const depth = channels * patch ** 2;
  const bytes = bytesOfElement(half, image) * patches * depth + bytesOfElement(half, weight) * width * depth;
  return { flops: 2 * patches * depth * width, bytes: bytes + 4 * patches * width };
}
