import {
  DeitError,
  add,
  assembleTokens,
  cat,
  checkpoint,
  dropout,
  expectShape,
  mul,
  patchEmbed,
  reshape,
  slice,
  to,
} from '../../engine/index.ts';
import type { Engine, Shape, Tensor } from '../../engine/index.ts';
import { Conv2d, LayerNorm, Linear, Module, normal } from '../../nn/index.ts';
import type { LayerShapes } from '../../nn/index.ts';
import { inPrecision } from './classifier.ts';
import type { Classifier, Logits, Precision } from './classifier.ts';
import { Block, INIT_STD } from './deit-block.ts';
import { deitConfig, hasDistHead, prefixTokens, tokenCount } from './deit-config.ts';
import type { DeitConfig } from './deit-config.ts';

class PatchEmbed extends Module {
  private readonly proj: Conv2d;

  constructor(engine: Engine, { inChans, patchSize, width }: DeitConfig) {
    super();
    this.proj = new Conv2d(engine, inChans, width, patchSize, { stride: patchSize });
  }

  /** Images [B, C, H, W] -> one token a patch, [B, N, D]. */
  forward(images: Tensor): Tensor {
    return patchEmbed(images, this.proj.weight, this.proj.bias!);
  }

  describe(image: Shape): LayerShapes {
    const projection = this.proj.describe(image);
    const [width, rows, columns] = projection.outputShape;
    return { module: this, type: 'PatchEmbed', outputShape: [rows * columns, width], parts: [projection] };
  }
}

/** What a forward pass gives: the logits of every head, or one set of logits made of them. */
export type DeitOutput = 'heads' | 'average' | 'concatenation';

/** What goes on inside, block by block. */
export interface Inspection extends Logits {
  /** [B, heads, N, N]: row i says where token i looks. Tokens are class, distillation if there is one, then patches by row. */
  readonly attention: readonly Tensor[];
  /** The class and, if there is one, the distillation token after the block, [B, 1 or 2, D], not yet normed. */
  readonly tokens: readonly Tensor[];
}

/**
 * DeiT (Touvron et al. 2021): a vision transformer with a class token and, if distilled, a distillation token, each with
 * a linear head. Names of parameters are timm's.
 */
export class VisionTransformer extends Module implements Classifier {
  readonly config: DeitConfig;
  private readonly clsToken: Tensor;
  private readonly posEmbed: Tensor;
  private readonly distToken: Tensor | null;
  private readonly patchEmbed: PatchEmbed;
  private readonly blocks: Block[];
  /** In training, keep only the input of each block for the backward pass, and compute its activations once more there. */
  recompute = false;
  /** f16: the patch embedding, linear layers and attention compute on f16 with f32 sums, as under torch.autocast; parameters and logits stay f32. */
  precision: Precision = 'f32';
  private readonly norm: LayerNorm;
  private readonly head: Linear;
  private readonly headDist: Linear | null;

  constructor(engine: Engine, options: Partial<DeitConfig> = {}) {
    super();
    const config = deitConfig(options);
    const { width, depth, classes, distilled, eps } = config;
    this.config = config;
    this.clsToken = this.parameter('cls_token', normal(engine, [1, 1, width], INIT_STD));
    this.posEmbed = this.parameter('pos_embed', normal(engine, [1, tokenCount(config), width], INIT_STD));
    this.distToken = distilled ? this.parameter('dist_token', normal(engine, [1, 1, width], INIT_STD)) : null;
    this.patchEmbed = this.child('patch_embed', new PatchEmbed(engine, config));
    this.blocks = Array.from({ length: depth }, (_, i) => this.child(`blocks.${i}`, new Block(engine, config, i)));
    this.norm = this.child('norm', new LayerNorm(engine, width, eps));
    const head = (name: string): Linear => this.child(name, new Linear(engine, width, classes, { std: INIT_STD }));
    this.head = head('head');
    this.headDist = hasDistHead(config) ? head('head_dist') : null;
  }

  get classes(): number {
    return this.config.classes;
  }

  get distilled(): boolean {
    return hasDistHead(this.config);
  }

  /** Images [B, C, H, W], normalised, to the tokens after the last block, [B, N, D], not yet normed. */
  features(images: Tensor): Tensor {
    return this.precisely(images, () => this.encode(images));
  }

  private precisely<Result>({ engine }: Tensor, work: () => Result): Result {
    return inPrecision(this.precision, engine, work);
  }

  private encode(images: Tensor, afterBlock?: (block: Block, x: Tensor, y: Tensor) => void): Tensor {
    const { inChans, imageSize, dropout: rate } = this.config;
    if (images.rank !== 4) {
      throw new DeitError('shape-mismatch', 'Images are [batch, channels, height, width].', {
        where: 'DeiT',
        found: images.toString(),
      });
    }
    expectShape(images.shape, [images.shape[0], inChans, imageSize, imageSize], 'DeiT', 'the images');
    const tokens = assembleTokens(this.patchEmbed.forward(images), this.clsToken, this.distToken, this.posEmbed);
    let x = dropout(tokens, rate, 0, this.training);
    for (const block of this.blocks) {
      const y =
        this.recompute && this.training && !afterBlock
          ? checkpoint((input) => block.forward(input), x, block.parameters())
          : block.forward(x);
      afterBlock?.(block, x, y);
      x = y;
    }
    return x;
  }

  heads(images: Tensor): Logits {
    return this.precisely(images, () => this.classify(this.encode(images)));
  }

  /** Logits, and what every block attended to and made of the tokens of the heads. For pictures and statistics. */
  inspect(images: Tensor): Inspection {
    const attention: Tensor[] = [];
    const tokens: Tensor[] = [];
    return this.precisely(images, () => {
      const features = this.encode(images, (block, x, y) => {
        attention.push(block.attention(x));
        tokens.push(slice(y, 1, 0, prefixTokens(this.config)));
      });
      return { ...this.classify(features), attention, tokens };
    });
  }

  /** The tokens that the heads see, normed, one [B, D] each. */
  private headTokens(features: Tensor): Tensor[] {
    const prefix = prefixTokens(this.config);
    // The norm works token by token: only those that the heads see need it.
    const tokens = this.norm.forward(slice(features, 1, 0, prefix));
    return Array.from({ length: prefix }, (_, index) => {
      const one = prefix === 1 ? tokens : slice(tokens, 1, index, index + 1);
      return reshape(one, [features.shape[0], this.config.width]);
    });
  }

  private classify(features: Tensor): Logits {
    const [cls, dist] = this.headTokens(features);
    return {
      cls: to(this.head.forward(cls), 'f32'),
      dist: this.headDist ? to(this.headDist.forward(dist), 'f32') : null,
    };
  }

  /**
   * Images [B, C, H, W], normalised, to [B, D]: the class token after the last norm, or with a distillation token the mean of both.
   * timm's `forward_head(forward_features(x), pre_logits=True)`.
   */
  embed(images: Tensor): Tensor {
    return this.precisely(images, () => {
      const [cls, dist] = this.headTokens(this.encode(images));
      return to(dist ? mul(add(cls, dist), 0.5) : cls, 'f32');
    });
  }

  /** Layers for one image [C, H, W], and what they cost. */
  describe(image: Shape): LayerShapes {
    const { width } = this.config;
    const tokens = [tokenCount(this.config), width];
    const parts = [
      this.patchEmbed.describe(image),
      ...[...this.blocks, this.norm].map((part) => part.describe(tokens)),
      ...[this.head, this.headDist].flatMap((head) => head?.describe([width]) ?? []),
    ];
    return { module: this, type: 'VisionTransformer', outputShape: [this.classes], parts };
  }

  /**
   * Images [B, C, H, W], normalised, to logits. In training mode those of both heads; in evaluation mode the average of
   * both heads, [B, classes]. `output` chooses otherwise; the concatenation is [class head, distillation head],
   * [B, 2 * classes]. Without distillation token, average and concatenation are the class head's logits.
   */
  forward(images: Tensor, output: 'heads'): Logits;
  forward(images: Tensor, output: 'average' | 'concatenation'): Tensor;
  forward(images: Tensor, output?: DeitOutput): Logits | Tensor;
  forward(images: Tensor, output: DeitOutput = this.training ? 'heads' : 'average'): Logits | Tensor {
    const logits = this.heads(images);
    if (output === 'heads') return logits;
    const { cls, dist } = logits;
    if (!dist) return cls;
    return output === 'average' ? mul(add(cls, dist), 0.5) : cat([cls, dist], 1);
  }
}
