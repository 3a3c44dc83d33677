import { autocast } from '../../engine/index.ts';
import type { TensorEngine, Shape, Tensor } from '../../engine/index.ts';
import type { LayerShapes, Module } from '../../nn/index.ts';

/** Element type of what products work on. */
export type Precision = 'f32' | 'f16';

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
  /** f16: products compute on f16 with f32 sums, as under torch.autocast; parameters and logits stay f32. */
  precision: Precision;
  /** Images [B, 3, H, W], normalised, to the logits of every head, in training and in evaluation mode alike. */
  heads(images: Tensor): Logits;
  /** Images [B, 3, H, W], normalised, to the vectors that the class head classifies, [B, D]. For `ImageModel.embed` alone. */
  embed?(images: Tensor): Tensor;
  /** Layers for one image [C, H, W], and what they cost. */
  describe(image: Shape): LayerShapes;
}

/** Runs part of a model's forward pass in its precision. */
export const inPrecision = <Result>(precision: Precision, engine: TensorEngine, work: () => Result): Result =>
  precision === 'f16' ? autocast(engine, work) : work();
