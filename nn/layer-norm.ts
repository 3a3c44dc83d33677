import { layerNorm } from '../engine/index.ts';
import type { Engine, Shape, Tensor } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { Module } from './module.ts';

/** Normalisation over the last dimension with biased variance, then `weight` and `bias`, at first ones and zeros. */
export class LayerNorm extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor;

  constructor(
    engine: Engine,
    readonly features: number,
    readonly eps = 1e-6,
  ) {
    super();
    this.weight = this.parameter('weight', engine.full([features], 1));
    this.bias = this.parameter('bias', engine.zeros([features]));
  }

  /** x [..., features] -> the same shape. */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, this.eps);
  }

  describe(input: Shape): LayerShapes {
    return { module: this, type: 'LayerNorm', outputShape: input };
  }
}
