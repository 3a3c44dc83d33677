import { dropout, freshStream } from '../engine/index.ts';
import type { Shape, Tensor } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { Module } from './module.ts';

/**
 * In training mode zeroes each element with probability p and divides the others by 1 - p; PyTorch's Dropout. Every call draws
 * anew. A step that is recorded and replayed draws anew if `engine.setStep` is called before each replay.
 */
export class Dropout extends Module {
  constructor(readonly p = 0.5) {
    super();
  }

  /** Shape of x. */
  forward(x: Tensor): Tensor {
    return dropout(x, this.p, freshStream(x.engine), this.training);
  }

  describe(input: Shape): LayerShapes {
    return { module: this, type: 'Dropout', outputShape: input };
  }
}
