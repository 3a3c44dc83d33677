import type { Tensor } from '../../engine/index.ts';
import type { Module } from '../../nn/index.ts';

/** Logits of a model: of the class head, and of the distillation head where there is one. Both [B, classes]. */
export interface Logits {
  readonly cls: Tensor;
  readonly dist: Tensor | null;
}

/** What training, distillation and evaluation need of a model; DeiT and RegNetY are both classifiers. */
export interface Classifier extends Module {
  readonly classes: number;
  /** Whether it has a distillation head. */
  readonly distilled: boolean;
  /** Images [B, 3, H, W], normalised, to the logits of every head, in training and in evaluation mode alike. */
  heads(images: Tensor): Logits;
}
