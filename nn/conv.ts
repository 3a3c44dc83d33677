import { conv2d, numel } from '../engine/index.ts';
import type { ConvOptions, Engine, Shape, Tensor } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { kaimingUniform, normal } from './init.ts';
import { Module } from './module.ts';

export interface Conv2dOptions extends ConvOptions {
  /** Default true. */
  bias?: boolean;
  /** Weights from N(0, std^2) and a bias of zeros; without it both are drawn as PyTorch's Conv2d does. */
  std?: number;
}

/** Convolution with a square kernel: `weight` [out, in / groups, kernel, kernel], `bias` [out]. */
export class Conv2d extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly options: ConvOptions;

  constructor(
    engine: Engine,
    readonly inChannels: number,
    readonly outChannels: number,
    readonly kernelSize: number,
    { bias = true, std, ...options }: Conv2dOptions = {},
  ) {
    super();
    this.options = options;
    const shape = [outChannels, inChannels / (options.groups ?? 1), kernelSize, kernelSize];
    const fanIn = shape[1] * kernelSize * kernelSize;
    const draw = (of: number[]): Tensor => kaimingUniform(engine, of, fanIn);
    this.weight = this.parameter('weight', std === undefined ? draw(shape) : normal(engine, shape, std));
    const initialBias = (): Tensor => (std === undefined ? draw([outChannels]) : engine.zeros([outChannels]));
    this.bias = bias ? this.parameter('bias', initialBias()) : null;
  }

  /** x [B, in, H, W] -> [B, out, H', W'], see `conv2d`. */
  forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, this.options);
  }

  /** Of an input [in, H, W]. */
  describe([, height, width]: Shape): LayerShapes {
    const { stride = 1, padding = 0 } = this.options;
    const side = (pixels: number): number => Math.floor((pixels + 2 * padding - this.kernelSize) / stride) + 1;
    const outputShape = [this.outChannels, side(height), side(width)];
    const multiplyAdds = numel(outputShape) * numel(this.weight.shape.slice(1));
    return { module: this, type: 'Conv2d', outputShape, multiplyAdds };
  }
}
