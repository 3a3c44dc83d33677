import { groupNorm } from '../engine/index.ts';
import type { Engine, Shape, Tensor } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { Module } from './module.ts';

export interface GroupNormOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Whether there are `weight` and `bias`; default true. */
  affine?: boolean;
}

/** Normalisation of each group of channels of each image, then `weight` and `bias` [channels], at first ones and zeros: PyTorch's GroupNorm. */
export class GroupNorm extends Module {
  readonly weight: Tensor | null;
  readonly bias: Tensor | null;
  readonly eps: number;

  constructor(
    engine: Engine,
    readonly groups: number,
    readonly channels: number,
    { eps = 1e-5, affine = true }: GroupNormOptions = {},
  ) {
    super();
    this.eps = eps;
    this.weight = affine ? this.parameter('weight', engine.full([channels], 1)) : null;
    this.bias = affine ? this.parameter('bias', engine.zeros([channels])) : null;
  }

  /** x [B, channels, ...] -> the same shape. */
  forward(x: Tensor): Tensor {
    return groupNorm(x, this.groups, this.weight, this.bias, this.eps);
  }

  describe(input: Shape): LayerShapes {
    return { module: this, type: 'GroupNorm', outputShape: input };
  }
}
