import { convTranspose2d } from '../engine/index.ts';
import type { ConvOptions, Engine, Tensor } from '../engine/index.ts';
import { kaimingUniform } from './init.ts';
import { Module } from './module.ts';

export interface ConvTranspose2dOptions extends ConvOptions {
  /** Rows and columns that the output has more, below the stride; default 0. */
  outputPadding?: number;
  /** Default true. */
  bias?: boolean;
}

/**
 * Transposed convolution with a square kernel: `weight` [in, out / groups, kernel, kernel], `bias` [out], drawn as PyTorch's
 * ConvTranspose2d draws them.
 */
export class ConvTranspose2d extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly options: Omit<ConvTranspose2dOptions, 'bias'>;

  constructor(
    engine: Engine,
    readonly inChannels: number,
    readonly outChannels: number,
    readonly kernelSize: number,
    { bias = true, ...options }: ConvTranspose2dOptions = {},
  ) {
    super();
    this.options = options;
    const shape = [inChannels, outChannels / (options.groups ?? 1), kernelSize, kernelSize];
    // PyTorch counts the second dimension as what comes in.
    const fanIn = shape[1] * kernelSize * kernelSize;
    this.weight = this.parameter('weight', kaimingUniform(engine, shape, fanIn));
    this.bias = bias ? this.parameter('bias', kaimingUniform(engine, [outChannels], fanIn)) : null;
  }

  /** x [B, in, H, W] -> [B, out, H', W'], see `convTranspose2d`. */
  forward(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, this.bias, this.options);
  }
}
