import { DeitError, avgPool2d, globalAvgPool, maxPool2d, reshape } from '../engine/index.ts';
import type { AvgPoolOptions, MaxPoolOptions, Shape, Tensor } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { Module } from './module.ts';

/** The mean of every channel: [B, C, H, W] -> [B, C, 1, 1]. PyTorch's AdaptiveAvgPool2d; its output has one pixel and no other size. */
export class AdaptiveAvgPool2d extends Module {
  constructor(outputSize = 1) {
    super();
    if (outputSize === 1) return;
    throw new DeitError('bad-argument', 'Only pooling to one pixel is there.', {
      where: 'AdaptiveAvgPool2d',
      expected: '1',
      found: String(outputSize),
    });
  }

  forward(x: Tensor): Tensor {
    return reshape(globalAvgPool(x), [x.shape[0], x.shape[1], 1, 1]);
  }

  describe([channels]: Shape): LayerShapes {
    return { module: this, type: 'AdaptiveAvgPool2d', outputShape: [channels, 1, 1] };
  }
}

type Window = number | readonly [height: number, width: number];

/** The largest pixel of each window, see `maxPool2d`: PyTorch's MaxPool2d. x [B, C, H, W] or [C, H, W]. */
export class MaxPool2d extends Module {
  constructor(
    readonly kernelSize: Window,
    readonly options: MaxPoolOptions = {},
  ) {
    super();
  }

  forward(x: Tensor): Tensor {
    return maxPool2d(x, this.kernelSize, this.options);
  }
}

/** The mean of each window, see `avgPool2d`: PyTorch's AvgPool2d. x [B, C, H, W] or [C, H, W]. */
export class AvgPool2d extends Module {
  constructor(
    readonly kernelSize: Window,
    readonly options: AvgPoolOptions = {},
  ) {
    super();
  }

  forward(x: Tensor): Tensor {
    return avgPool2d(x, this.kernelSize, this.options);
  }
}
