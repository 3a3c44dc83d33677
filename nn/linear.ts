import { linear, numel } from '../engine/index.ts';
import type { Engine, Shape, Tensor } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { kaimingUniform, normal } from './init.ts';
import { Module } from './module.ts';

export interface LinearOptions {
  /** Default true. */
  bias?: boolean;
  /** Weights from N(0, std^2) and a bias of zeros; without it both are drawn as PyTorch's Linear does. */
  std?: number;
}

/** y = x weight^T + bias over the last dimension; `weight` [out, in], `bias` [out]. */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(
    engine: Engine,
    readonly inFeatures: number,
    readonly outFeatures: number,
    { bias = true, std }: LinearOptions = {},
  ) {
    super();
    const shape = [outFeatures, inFeatures];
    const weight = std === undefined ? kaimingUniform(engine, shape, inFeatures) : normal(engine, shape, std);
    this.weight = this.parameter('weight', weight);
    this.bias = bias ? this.parameter('bias', this.initialBias(engine, std)) : null;
  }

  private initialBias(engine: Engine, std: number | undefined): Tensor {
    const shape = [this.outFeatures];
    return std === undefined ? kaimingUniform(engine, shape, this.inFeatures) : engine.zeros(shape);
  }

  /** x [..., in] -> [..., out]. */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }

  describe(input: Shape): LayerShapes {
    const outputShape = [...input.slice(0, -1), this.outFeatures];
    return { module: this, type: 'Linear', outputShape, multiplyAdds: numel(outputShape) * this.inFeatures };
  }
}
