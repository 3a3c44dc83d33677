/** @module-tag slow */
/** The pretrained model that ships, against timm in float64 with the same f16 weights. */
import { describe, expect, it } from 'vitest';
import { buildModel } from '../../deit/train/node/open-model.ts';
import { classNames, imagenetClasses } from '../../deit/train/node/class-names.ts';
import { useEngine } from '../support/engine.ts';
import { relativeError } from '../support/close.ts';
import { shippedCrops } from '../support/shipped-crops.ts';

describe('the shipped DeiT-Ti', () => {
  const engine = useEngine();

  it('gives the logits that timm computes in float64', async () => {
    const { model, spec } = await buildModel(engine(), { weights: 'shipped' }, () => undefined);
    expect(spec).toBe('deit_tiny_patch16_224');
    expect(model.numParameters()).toBe(5_717_416);
    const { images, shape, logits, drift } = shippedCrops();
    model.eval();
    const { cls, dist } = engine().noGrad(() => model.heads(engine().tensor(images, shape)));
    expect(dist).toBeNull();
    // PyTorch's own float32 is off by `drift` (9e-7); other orders of summation over twelve blocks by a few times that.
    expect(relativeError(await cls.read(), logits)).toBeLessThan(8 * drift);
  });

  it('gives the vectors of `embed` that timm gives before its head', async () => {
    const { model } = await buildModel(engine(), { weights: 'shipped' }, () => undefined);
    const { images, shape, embeddings, embeddingDrift } = shippedCrops();
    model.eval();
    const vectors = engine().noGrad(() => model.embed!(engine().tensor(images, shape)));
    expect(vectors.shape).toEqual([3, 192]);
    // As for the logits.
    expect(relativeError(await vectors.read(), embeddings)).toBeLessThan(8 * embeddingDrift);
  });

  it('names its classes itself, by the list that serves other ImageNet checkpoints too', async () => {
    const { card } = await buildModel(engine(), { weights: 'shipped' }, () => undefined);
    const names = imagenetClasses();
    expect(names).toHaveLength(1000);
    expect(new Set(names).size).toBe(1000);
    expect([names[0], names[207], names[999]]).toEqual(['tench', 'Golden Retriever', 'toilet paper']);
    expect(card!.classes).toEqual(names);
    expect(classNames(null, 1000, () => undefined)).toEqual(names);
    expect(classNames(null, 3, () => undefined)).toEqual(['class 0', 'class 1', 'class 2']);
  });
});
