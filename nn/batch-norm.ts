import { add, batchNorm, convBatchNorm, relu } from '../engine/index.ts';
import type { Engine, Shape, Tensor, TensorEngine } from '../engine/index.ts';
import type { Conv2d } from './conv.ts';
import type { LayerShapes } from './describe.ts';
import { Module } from './module.ts';
import type { Counter } from './state.ts';

export interface BatchNormLayerOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Share of a batch in the running statistics; default 0.1. */
  momentum?: number;
  /** Initial value of the weight; default 1. */
  weight?: number;
  /** Ends with a ReLU, in the same kernel; default false. */
  relu?: boolean;
}

/**
 * Batch normalisation by channel: `weight`, `bias`, `running_mean`, `running_var` [channels], `num_batches_tracked`.
 * In training mode it normalises by the batch and moves the running statistics; in evaluation mode it uses them. The
 * count of batches lives on the host and nothing depends on it; a loop that replays recorded steps, in which `forward`
 * is not called, keeps it with `trackBatches`.
 */
export class BatchNorm2d extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly runningMean: Tensor;
  readonly runningVar: Tensor;
  readonly numBatchesTracked: Counter;
  /** Share of a batch in the running statistics. */
  readonly momentum: number;
  private readonly options: { eps: number; momentum: number; relu: boolean };

  constructor(
    engine: Engine,
    readonly channels: number,
    { eps = 1e-5, momentum = 0.1, weight = 1, relu = false }: BatchNormLayerOptions = {},
  ) {
    super();
    this.momentum = momentum;
    this.options = { eps, momentum, relu };
    this.weight = this.parameter('weight', engine.full([channels], weight));
    this.bias = this.parameter('bias', engine.zeros([channels]));
    this.runningMean = this.buffer('running_mean', engine.zeros([channels]));
    this.runningVar = this.buffer('running_var', engine.full([channels], 1));
    this.numBatchesTracked = this.counter('num_batches_tracked');
  }

  /** x [B, C, H, W] or [B, C] -> the same shape. */
  forward(x: Tensor): Tensor {
    return this.normalize(x, this.options.relu);
  }

  private normalize(x: Tensor, relu: boolean): Tensor {
    const { training } = this;
    if (training) this.track(x.engine);
    const { weight, bias, runningMean, runningVar } = this;
    return batchNorm(x, weight, bias, runningMean, runningVar, { training, ...this.options, relu });
  }

  /**
   * This norm of what `conv` makes of x; with a shortcut of its shape, relu(shortcut + norm), whether the norm has a ReLU of its own
   * or not. In evaluation, where no gradient is recorded, all of it is one convolution (see `convBatchNorm`).
   */
  after(conv: Conv2d, x: Tensor, shortcut: Tensor | null = null): Tensor {
    const { training, weight, bias, runningMean: mean, runningVar: variance } = this;
    const records =
      x.engine.gradEnabled && [x, conv.weight, weight, bias, shortcut].some((tensor) => tensor?.requiresGrad);
    if (training || records || conv.bias) {
      const y = conv.forward(x);
      return shortcut ? relu(add(shortcut, this.normalize(y, false))) : this.forward(y);
    }
    const { eps } = this.options;
    const options = { ...conv.options, eps, relu: this.options.relu || shortcut !== null, shortcut };
    return convBatchNorm(x, conv.weight, { weight, bias, mean, variance }, options);
  }

  describe(input: Shape): LayerShapes {
    return { module: this, type: 'BatchNorm2d', outputShape: input };
  }

  private track(engine: TensorEngine): void {
    const counter = this.numBatchesTracked;
    engine.undoIfFailed(() => counter.value--);
    counter.value++;
  }
}

/** Counts batches that the batch norms below `module` saw without `forward` being called: replays of a recorded step. */
export function trackBatches(module: Module, batches: number): void {
  for (const [, part] of module.namedModules()) {
    if (part instanceof BatchNorm2d && part.training) part.numBatchesTracked.value += batches;
  }
}
