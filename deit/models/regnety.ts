import {
  DeitError,
  autocast,
  formatShape,
  globalAvgPool,
  numel,
  relu,
  reshape,
  scaleChannels,
  sigmoid,
  to,
} from '../../engine/index.ts';
import type { Engine, Shape, Tensor } from '../../engine/index.ts';
import { BatchNorm2d, Conv2d, Linear, Module } from '../../nn/index.ts';
import type { LayerShapes } from '../../nn/index.ts';
import { inPrecision } from './classifier.ts';
import type { Classifier, Logits, Precision } from './classifier.ts';
import { regnetyBlocks, regnetyConfig } from './regnety-config.ts';
import type { BlockPlan, RegNetYConfig } from './regnety-config.ts';

interface ConvNormOptions {
  readonly stride?: number;
  readonly groups?: number;
  /** Initial weight of the norm. */
  readonly weight?: number;
  readonly relu?: boolean;
}

/** Convolution without bias, batch norm and, unless told otherwise, ReLU. */
class ConvNorm extends Module {
  private readonly conv: Conv2d;
  private readonly bn: BatchNorm2d;

  constructor(engine: Engine, inputs: number, outputs: number, kernel: number, options: ConvNormOptions = {}) {
    super();
    const { stride = 1, groups = 1, weight = 1, relu: activated = true } = options;
    const convOptions = {
      stride,
      groups,
      padding: (kernel - 1) / 2,
      bias: false,
      std: convStd(kernel, outputs, groups),
    };
    this.conv = new Conv2d(engine, inputs, outputs, kernel, convOptions);
    this.bn = new BatchNorm2d(engine, outputs, { weight, relu: activated });
  }

  /** With a shortcut, relu(shortcut + the norm). */
  forward(x: Tensor, shortcut: Tensor | null = null): Tensor {
    return this.bn.after(this.conv, x, shortcut);
  }

  describe(x: Shape): LayerShapes {
    const conv = this.conv.describe(x);
    const { outputShape } = conv;
    return { module: this, type: 'ConvNormAct', outputShape, parts: [conv, this.bn.describe(outputShape)] };
  }
}

/** timm's: sqrt(2 / fan out), the fan out being that of one group. */
const convStd = (kernel: number, outputs: number, groups: number): number =>
  Math.sqrt((2 * groups) / (kernel * kernel * outputs));

/** As in the paper's own counts, the biases of the linear layers (squeeze-and-excitation and head) count as multiply-adds. */
const withBias = (layer: LayerShapes): LayerShapes => ({
  ...layer,
  multiplyAdds: layer.multiplyAdds! + numel(layer.outputShape),
});

/** Squeeze-and-excitation: channels are scaled by a gate computed from their means. */
class SqueezeExcite extends Module {
  private readonly fc1: Conv2d;
  private readonly fc2: Conv2d;

  constructor(engine: Engine, channels: number, squeezed: number) {
    super();
    this.fc1 = new Conv2d(engine, channels, squeezed, 1, { std: convStd(1, squeezed, 1) });
    this.fc2 = new Conv2d(engine, squeezed, channels, 1, { std: convStd(1, channels, 1) });
  }

  forward(x: Tensor): Tensor {
    const means = reshape(globalAvgPool(x), [x.shape[0], x.shape[1], 1, 1]);
    // Of one pixel an image: conversions would cost more than the products. The gate is f32 whatever the rest is.
    const gate = (): Tensor => sigmoid(this.fc2.forward(relu(this.fc1.forward(means))));
    return scaleChannels(x, autocast(x.engine, gate, { enabled: false }));
  }

  describe(x: Shape): LayerShapes {
    const fc1 = this.fc1.describe([x[0], 1, 1]);
    const parts = [fc1, this.fc2.describe(fc1.outputShape)].map(withBias);
    return { module: this, type: 'SqueezeExcite', outputShape: x, parts };
  }
}

/** y = relu(shortcut(x) + F(x)), F a 1x1, a grouped 3x3 that takes the stride, squeeze-and-excitation and a 1x1. */
class Bottleneck extends Module {
  private readonly conv1: ConvNorm;
  private readonly conv2: ConvNorm;
  private readonly se: SqueezeExcite;
  private readonly conv3: ConvNorm;
  private readonly downsample: ConvNorm | null;

  constructor(engine: Engine, plan: BlockPlan, { zeroInitLast }: RegNetYConfig) {
    super();
    const { inputs, width, stride, groups, squeezed } = plan;
    this.conv1 = new ConvNorm(engine, inputs, width, 1);
    this.conv2 = new ConvNorm(engine, width, width, 3, { stride, groups });
    this.se = new SqueezeExcite(engine, width, squeezed);
    const weight = zeroInitLast ? 0 : 1;
    this.conv3 = new ConvNorm(engine, width, width, 1, { weight, relu: false });
    const shortcut = (): ConvNorm => new ConvNorm(engine, inputs, width, 1, { stride, relu: false });
    this.downsample = plan.downsample ? shortcut() : null;
  }

  forward(x: Tensor): Tensor {
    // First: what is computed between a tensor and the product that takes it would make it f32.
    const shortcut = this.downsample ? this.downsample.forward(x) : x;
    return this.conv3.forward(this.se.forward(this.conv2.forward(this.conv1.forward(x))), shortcut);
  }

  describe(x: Shape): LayerShapes {
    const conv1 = this.conv1.describe(x);
    const conv2 = this.conv2.describe(conv1.outputShape);
    const { outputShape } = conv2;
    const parts = [conv1, conv2, this.se.describe(outputShape), this.conv3.describe(outputShape)];
    if (this.downsample) parts.push(this.downsample.describe(x));
    return { module: this, type: 'Bottleneck', outputShape, parts };
  }
}

/**
 * RegNetY (Radosavovic et al. 2020, "Designing Network Design Spaces"): a stem, stages of bottleneck blocks with
 * grouped convolutions and squeeze-and-excitation, global average pooling and a linear head. Names of parameters,
 * structure and initial values are timm's.
 */
export class RegNetY extends Module implements Classifier {
  readonly config: RegNetYConfig;
  readonly distilled = false;
  /**
   * f16: convolutions but those of gates, and the head, compute on f16 with f32 sums; what lies between blocks, parameters and
   * logits are f32.
   */
  precision: Precision = 'f32';
  private readonly stem: ConvNorm;
  private readonly blocks: Bottleneck[];
  private readonly head: Linear;

  constructor(engine: Engine, options: Partial<RegNetYConfig>) {
    super();
    const config = regnetyConfig(options);
    this.config = config;
    const { inChans, stemWidth, stemStride, classes } = config;
    this.stem = this.child('stem', new ConvNorm(engine, inChans, stemWidth, 3, { stride: stemStride }));
    const plans = regnetyBlocks(config);
    this.blocks = plans.map((plan) => this.child(plan.name, new Bottleneck(engine, plan, config)));
    const width = plans.at(-1)?.width ?? stemWidth;
    this.head = this.child('head.fc', new Linear(engine, width, classes, { std: 0.01 }));
  }

  get classes(): number {
    return this.config.classes;
  }

  /** Images [B, C, H, W], normalised, of any size, to the features after the last block, [B, width, H', W']. */
  features(images: Tensor): Tensor {
    if (images.rank !== 4 || images.shape[1] !== this.config.inChans) {
      throw new DeitError('shape-mismatch', 'The images do not fit the model.', {
        where: 'RegNetY',
        expected: `[batch, ${this.config.inChans}, height, width]`,
        found: formatShape(images.shape),
      });
    }
    return inPrecision(this.precision, images.engine, () =>
      this.blocks.reduce((x, block) => block.forward(x), this.stem.forward(images)),
    );
  }

  /** Images [B, C, H, W], normalised, to the means of the last features, [B, width]. */
  embed(images: Tensor): Tensor {
    return to(globalAvgPool(this.features(images)), 'f32');
  }

  /** Images [B, C, H, W], normalised, to logits [B, classes]. */
  forward(images: Tensor): Tensor {
    return inPrecision(this.precision, images.engine, () =>
      to(this.head.forward(globalAvgPool(this.features(images))), 'f32'),
    );
  }

  heads(images: Tensor): Logits {
    return { cls: this.forward(images), dist: null };
  }

  /** Layers for one image [C, H, W], and what they cost. */
  describe(image: Shape): LayerShapes {
    const parts = [this.stem.describe(image)];
    for (const block of this.blocks) parts.push(block.describe(parts.at(-1)!.outputShape));
    parts.push(withBias(this.head.describe([this.head.inFeatures])));
    return { module: this, type: 'RegNet', outputShape: [this.classes], parts };
  }
}
