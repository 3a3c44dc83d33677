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
  readonly f16?: readonly ('x' | 'w' | 'dx' | 'dy')[];
}

/** What a pass reads and writes: an image, tokens, and a weight or its gradient, which may be written in parts. */
const PASSES = {
  forward: ['x', 'y', 'w'],
  weight: ['x', 'dy', 'partials'],
  image: ['dx', 'dy', 'w'],
} as const;

export type PatchEmbedPass = keyof typeof PASSES;

export function patchEmbedCost(problem: PatchEmbedProblem, pass: PatchEmbedPass): Cost {
  const { batch, gridHeight, gridWidth, channels, patch, width, f16 } = problem;
  const patches = batch * gridHeight * gridWidth;
  const depth = channels * patch ** 2;
  const [image, tokens, weight] = PASSES[pass].map((binding) => bytesOfElement(f16, binding));
  const bytes = image * patches * depth + tokens * patches * width + weight * width * depth;
  return { flops: 2 * patches * depth * width, bytes };
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
