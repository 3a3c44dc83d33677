/** Where the tokens of the heads look: attention of every layer and head, and attention rollout. Browser-safe. */
import type { Engine } from '../../engine/index.ts';
import { DeitError } from '../../engine/index.ts';
import { expectFiniteLogits } from '../forward-pass.ts';
import type { Classifier } from '../models/classifier.ts';
import { gridSide, prefixTokens } from '../models/deit-config.ts';
import { VisionTransformer } from '../models/deit.ts';

export type HeadToken = 'class' | 'distillation';

/** What one token looks at, as shares of its attention that go to each patch [side * side]. */
export interface TokenAttention {
  readonly token: HeadToken;
  /** By layer, by head. The rest, up to 1, goes to the class and distillation tokens. */
  readonly layers: readonly (readonly Float32Array[])[];
  /** Through all layers: see `attentionRollout`. */
  readonly rollout: Float32Array;
}

export interface AttentionMaps {
  /** Patches along one side of the image. */
  readonly side: number;
  readonly tokens: readonly TokenAttention[];
  /** Logits of one image, [classes]. */
  readonly cls: Float32Array;
  readonly dist: Float32Array | null;
}

/** The model as a DeiT, or an error: only transformers have attention. */
export function asTransformer(model: Classifier): VisionTransformer {
  if (model instanceof VisionTransformer) return model;
  throw new DeitError('bad-argument', 'This model has no attention to look at.', {
    found: 'a convolutional network',
    fix: 'name a DeiT',
  });
}

/**
 * Attention maps and logits of one image, given as normalised planes [3, H, W] of the model's size; `name` is what to call
 * it. Throws `non-finite` if a logit is NaN or infinite.
 */
export async function attentionMaps(
  engine: Engine,
  model: Classifier,
  pixels: Float32Array,
  name = 'the image',
): Promise<AttentionMaps> {
  const deit = asTransformer(model);
  const { config } = deit;
  const { imageSize, heads, inChans } = config;
  const reads = engine.scope(() =>
    engine.noGrad(() => {
      const { cls, dist, attention } = deit.inspect(engine.tensor(pixels, [1, inChans, imageSize, imageSize]));
      return {
        cls: cls.read(),
        dist: dist ? dist.read() : null,
        attention: attention.map((weights) => weights.read()),
      };
    }),
  );
  const layers = (await Promise.all(reads.attention)) as Float32Array[];
  const [cls, dist] = (await Promise.all([reads.cls, reads.dist])) as [Float32Array, Float32Array | null];
  await expectFiniteLogits({ cls, dist }, { engine, model, images: pixels, imageSize, nameOf: () => name });
  const prefix = prefixTokens(config);
  const side = gridSide(config);
  const count = side * side + prefix;
  const names: readonly HeadToken[] = deit.distilled ? ['class', 'distillation'] : ['class'];
  return {
    side,
    tokens: names.map((token, row) => ({
      token,
      layers: layers.map((weights) =>
        Array.from({ length: heads }, (_, head) => {
          const start = (head * count + row) * count;
          return weights.slice(start + prefix, start + count);
        }),
      ),
      rollout: Float32Array.from(attentionRollout(layers, heads, count, row).subarray(prefix)),
    })),
    cls,
    dist,
  };
}

/**
 * Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928): heads averaged, the residual connection counted as half,
 * layers multiplied: row `row` of A_L ... A_1 with A = (mean over heads + I) / 2. `layers` hold [heads, count, count];
 * the result [count] sums to 1.
 */
export function attentionRollout(
  layers: readonly ArrayLike<number>[],
  heads: number,
  count: number,
  row: number,
): Float64Array {
  let share = new Float64Array(count);
  share[row] = 1;
  for (let layer = layers.length - 1; layer >= 0; layer--) {
    const weights = layers[layer];
    const next = share.map((value) => value / 2);
    for (let head = 0; head < heads; head++) {
      for (let i = 0; i < count; i++) {
        const factor = share[i] / (2 * heads);
        const start = (head * count + i) * count;
        for (let j = 0; j < count; j++) next[j] += factor * weights[start + j];
      }
    }
    share = next;
  }
  return share;
}
