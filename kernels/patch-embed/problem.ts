import { bytesOfElement } from '../lib/f16-storage.ts';
import { require } from '../lib/kernel.ts';
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
  readonly f16?: readonly ('x' | 'w' | 'dx')[];
}

/** Of a pass over an image (x or dx), tokens, and a weight or the gradient of one. */
export function patchEmbedCost(problem: PatchEmbedProblem, image: 'x' | 'dx', weight: 'w' | 'partials'): Cost {
  const { batch, gridHeight, gridWidth, channels, patch, width, f16 } = problem;
  const patches = batch * gridHeight * gridWidth;
  const depth = channels * patch ** 2;
  const bytes = bytesOfElement(f16, image) * patches * depth + bytesOfElement(f16, weight) * width * depth;
  return { flops: 2 * patches * depth * width, bytes: bytes + 4 * patches * width };
}

/** The problem itself, if it is one. */
export function checkPatchEmbed(problem: PatchEmbedProblem): PatchEmbedProblem {
  const { batch, channels, gridHeight, gridWidth, patch, width } = problem;
  const sizes = [batch, channels, gridHeight, gridWidth, patch, width];
  require(sizes.every((size) => Number.isInteger(size) && size > 0), 'patch_embed', 'positive sizes', problem);
  return problem;
}

/** Bytes of the largest tensor. */
export function largestTensor({ batch, gridHeight, gridWidth, channels, patch, width }: PatchEmbedProblem): number {
  const patches = batch * gridHeight * gridWidth;
  return 4 * Math.max(patches * channels * patch ** 2, patches * width, width * channels * patch ** 2);
}
