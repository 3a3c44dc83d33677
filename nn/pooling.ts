import { DeitError, globalAvgPool, reshape } from '../engine/index.ts';
import type { Shape, Tensor } from '../engine/index.ts';
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
