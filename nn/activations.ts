/** Operators without parameters as layers, under PyTorch's names. */
import { gelu, numel, relu, reshape, sigmoid, silu, tanh } from '../engine/index.ts';
import type { Shape, Tensor } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { Module } from './module.ts';

abstract class Elementwise extends Module {
  abstract forward(x: Tensor): Tensor;

  describe(input: Shape): LayerShapes {
    return { module: this, type: this.constructor.name, outputShape: input };
  }
}

export class Identity extends Elementwise {
  forward(x: Tensor): Tensor {
    return x;
  }
}

export class ReLU extends Elementwise {
  forward(x: Tensor): Tensor {
    return relu(x);
  }
}

/** The exact form, by the error function. */
export class GELU extends Elementwise {
  forward(x: Tensor): Tensor {
    return gelu(x);
  }
}

export class SiLU extends Elementwise {
  forward(x: Tensor): Tensor {
    return silu(x);
  }
}

export class Sigmoid extends Elementwise {
  forward(x: Tensor): Tensor {
    return sigmoid(x);
  }
}

export class Tanh extends Elementwise {
  forward(x: Tensor): Tensor {
    return tanh(x);
  }
}

/** [B, ...] -> [B, product of the rest]. */
export class Flatten extends Module {
  forward(x: Tensor): Tensor {
    return reshape(x, [x.shape[0], numel(x.shape.slice(1))]);
  }

  describe(input: Shape): LayerShapes {
    return { module: this, type: 'Flatten', outputShape: [numel(input)] };
  }
}
