import {
  attentionProbabilities,
  dropPathAdd,
  dropout,
  gelu,
  linearAdd,
  mlp,
  scaledDotProductAttention,
} from '../../engine/index.ts';
import type { BranchDrop, Engine, Shape, Tensor } from '../../engine/index.ts';
import { LayerNorm, Linear, Module } from '../../nn/index.ts';
import type { LayerShapes } from '../../nn/index.ts';
import { dropPathRate } from './deit-config.ts';
import type { DeitConfig } from './deit-config.ts';

/** Standard deviation of the initial weights of all linear layers. */
export const INIT_STD = 0.02;

/** Streams of dropout in one block, so that no two places draw the same mask. */
const DROPOUTS_PER_BLOCK = 3;

/** What the last layer of a branch adds to it, if anything: the residual, once stochastic depth has passed. */
interface Ending {
  readonly residual: Tensor | null;
  readonly drop: BranchDrop | null;
}

class Attention extends Module {
  private readonly qkv: Linear;
  private readonly proj: Linear;
  private readonly heads: number;

  constructor(engine: Engine, { width, heads }: DeitConfig) {
    super();
    this.heads = heads;
    this.qkv = new Linear(engine, width, 3 * width, { std: INIT_STD });
    this.proj = new Linear(engine, width, width, { std: INIT_STD });
  }

  forward(x: Tensor, { residual, drop }: Ending): Tensor {
    const attended = scaledDotProductAttention(this.qkv.forward(x), this.heads);
    if (!residual) return this.proj.forward(attended);
    return linearAdd(attended, this.proj.weight, this.proj.bias, residual, drop);
  }

  probabilities(x: Tensor): Tensor {
    return attentionProbabilities(this.qkv.forward(x), this.heads);
  }

  describe(x: Shape): LayerShapes {
    const [tokens, width] = x;
    return {
      module: this,
      type: 'Attention',
      outputShape: x,
      // The products of queries and keys, and of probabilities and values, over all heads.
      multiplyAdds: 2 * tokens * tokens * width,
      parts: [this.qkv.describe(x), this.proj.describe(x)],
    };
  }
}

class Mlp extends Module {
  private readonly fc1: Linear;
  private readonly fc2: Linear;

  constructor(engine: Engine, { width, dFf }: DeitConfig) {
    super();
    this.fc1 = new Linear(engine, width, dFf, { std: INIT_STD });
    this.fc2 = new Linear(engine, dFf, width, { std: INIT_STD });
  }

  /** `dropHidden` is what happens to the hidden layer, if anything: then nothing is added. */
  forward(x: Tensor, { residual, drop }: Ending, dropHidden: ((hidden: Tensor) => Tensor) | null): Tensor {
    const { fc1, fc2 } = this;
    if (dropHidden) return fc2.forward(dropHidden(gelu(fc1.forward(x))));
    return mlp(x, fc1.weight, fc1.bias, fc2.weight, fc2.bias, residual, drop);
  }

  describe(x: Shape): LayerShapes {
    const fc1 = this.fc1.describe(x);
    return { module: this, type: 'Mlp', outputShape: x, parts: [fc1, this.fc2.describe(fc1.outputShape)] };
  }
}

/** x + attention(norm1(x)), then x + mlp(norm2(x)); stochastic depth on both branches. */
export class Block extends Module {
  private readonly norm1: LayerNorm;
  private readonly attn: Attention;
  private readonly norm2: LayerNorm;
  private readonly mlp: Mlp;
  private readonly dropPath: number;

  constructor(
    engine: Engine,
    private readonly config: DeitConfig,
    private readonly index: number,
  ) {
    super();
    const { width, eps } = config;
    this.dropPath = dropPathRate(config, index);
    this.norm1 = new LayerNorm(engine, width, eps);
    this.attn = new Attention(engine, config);
    this.norm2 = new LayerNorm(engine, width, eps);
    this.mlp = new Mlp(engine, config);
  }

  /** x [B, N, D] -> the same shape. */
  forward(x: Tensor): Tensor {
    const dropped = this.training && this.config.dropout > 0;
    const y = this.residual(x, 0, (ending) => this.attn.forward(this.norm1.forward(x), ending));
    const drop = dropped ? (hidden: Tensor): Tensor => this.drop(hidden, 1) : null;
    return this.residual(y, 1, (ending) => this.mlp.forward(this.norm2.forward(y), ending, drop));
  }

  describe(x: Shape): LayerShapes {
    const parts = [this.norm1, this.attn, this.norm2, this.mlp].map((part) => part.describe(x));
    return { module: this, type: 'Block', outputShape: x, parts };
  }

  /** The attention probabilities that `forward(x)` uses, [B, heads, N, N]: how much each token (row) looks at each other one. */
  attention(x: Tensor): Tensor {
    return this.attn.probabilities(this.norm1.forward(x));
  }

  /** x plus a branch. The branch's last layer adds x itself, unless there is a dropout in between. */
  private residual(x: Tensor, which: 0 | 1, branch: (ending: Ending) => Tensor): Tensor {
    const { training, dropPath, index, config } = this;
    const stream = 2 * index + which;
    if (!training || config.dropout === 0) {
      return branch({ residual: x, drop: training ? { rate: dropPath, stream } : null });
    }
    return dropPathAdd(x, this.drop(branch({ residual: null, drop: null }), 2 * which), dropPath, stream);
  }

  private drop(x: Tensor, place: number): Tensor {
    // Stream 0 is that of the embeddings.
    return dropout(x, this.config.dropout, 1 + DROPOUTS_PER_BLOCK * this.index + place, this.training);
  }
}
