/** @module-tag slow */
import { beforeAll, describe, expect, it } from 'vitest';
import type { VisionTransformer } from '../../deit/models/deit.ts';
import { createModel } from '../../deit/models/registry.ts';
import { add, softTargetCrossEntropy } from '../../engine/node.ts';
import { AdamW, decayGroups } from '../../nn/index.ts';
import { createEngine } from '../../engine/node.ts';
import type { Engine } from '../../engine/node.ts';
import { uniform } from '../support/close.ts';

const MODEL =
  'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=6 heads=3 num_classes=10 drop_path=0.3';
const BATCH = 64;

/** Two micro-batches forward and backward, and an update: all gradients' traces, as bits of weights and moments. */
async function step(engine: Engine, recompute: boolean, freeze: boolean) {
  const model = createModel(engine, MODEL) as VisionTransformer;
  model.recompute = recompute;
  for (const [name, parameter] of model.namedParameters()) {
    // With the embedding and the first block frozen the input of the second block wants no gradient.
    if (freeze && /^(patch_embed|cls_token|dist_token|pos_embed|blocks\.0)/.test(name)) parameter.requiresGrad_(false);
  }
  const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05), { maxNorm: 1 });
  const images = engine.tensor(uniform(BATCH * 3 * 1024, 5), [BATCH, 3, 32, 32]);
  const targets = engine.full([BATCH, 10], 0.1);
  await engine.idle();
  engine.trimMemory();
  engine.resetPeakMemory();
  optimizer.prepareStep(1e-3);
  for (const micro of [0, 1]) {
    engine.setStep(micro);
    engine.scope(() => {
      if (micro === 0) optimizer.zeroGrad();
      const { cls, dist } = model.heads(images);
      add(softTargetCrossEntropy(cls, targets), softTargetCrossEntropy(dist!, targets)).backward();
      if (micro === 1) optimizer.step();
    });
  }
  await engine.idle();
  const peak = engine.memory().peakBytes;
  const [weights, ...moments] = await Promise.all(
    [optimizer.flat, ...optimizer.stateDict().values()].map((t) => t.read()),
  );
  return { weights, moments, peak };
}

/** Steps of the whole model, and of one with its first part frozen, by the same kernels. */
async function steps(recompute: boolean) {
  const engine = await createEngine({ seed: 3, debug: false });
  const whole = await step(engine, recompute, false);
  const partly = await step(engine, recompute, true);
  engine.close();
  return { whole, partly };
}

describe('recomputation of activations', () => {
  let [plain, recomputed]: Awaited<ReturnType<typeof steps>>[] = [];
  beforeAll(async () => {
    [plain, recomputed] = [await steps(false), await steps(true)];
  });

  it('gives the same gradients to the bit, with stochastic depth and accumulation, in less memory', () => {
    expect(recomputed.whole.weights).toEqual(plain.whole.weights);
    expect(recomputed.whole.moments).toEqual(plain.whole.moments);
    // Of six blocks' activations one block's and six inputs are left.
    expect(recomputed.whole.peak).toBeLessThan(0.6 * plain.whole.peak);
  });

  it('reaches the parameters of a block whose input wants no gradient', () => {
    expect(recomputed.partly.weights).toEqual(plain.partly.weights);
    expect(recomputed.partly.moments).toEqual(plain.partly.moments);
    expect(plain.partly.weights).not.toEqual(plain.whole.weights);
  });
});
