import { indexSelect, reshape } from '../engine/index.ts';
import type { Engine, Shape, Tensor } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { normal } from './init.ts';
import { Module } from './module.ts';

/** A table of vectors: `weight` [entries, width], drawn from N(0, 1) as PyTorch's Embedding is. */
export class Embedding extends Module {
  readonly weight: Tensor;

  constructor(
    engine: Engine,
    readonly entries: number,
    readonly width: number,
  ) {
    super();
    this.weight = this.parameter('weight', normal(engine, [entries, width], 1));
  }

  /** Indices, i32 of any shape, to vectors, [...indices, width]. An index out of range gives NaN: see `indexSelect`. */
  forward(indices: Tensor): Tensor {
    const rows = indexSelect(this.weight, 0, reshape(indices, [indices.size]));
    return reshape(rows, [...indices.shape, this.width]);
  }

  describe(input: Shape): LayerShapes {
    return { module: this, type: 'Embedding', outputShape: [...input, this.width] };
  }
}
