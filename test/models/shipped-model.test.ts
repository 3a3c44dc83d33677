/** The pretrained model that ships, against timm in float64 with the same f16 weights. */
import { describe, expect, it } from 'vitest';
import { imagenetNormalization, normalizationTables, writeChw } from '../../deit/data/transforms.ts';
import { openModel } from '../../deit/cli/model-files.ts';
import { classNames, imagenetClasses } from '../../deit/train/node/shipped.ts';
import { useEngine } from '../support/engine.ts';
import { relativeError } from '../support/close.ts';
import { goldenJson, goldenTensors } from '../support/golden.ts';
import { integers } from '../support/generator.ts';

const SIZE = 224;
const { crops, drift } = goldenJson<{ crops: string[]; drift: number }>('shipped.json');

/** The crop of test/golden/shipped.py: coloured squares and a quarter of noise. */
function crop(name: string): Uint8Array {
  const coarse = integers(`${name}.coarse`, 14 * 14 * 3, 256);
  const fine = integers(`${name}.fine`, SIZE * SIZE * 3, 256);
  return Uint8Array.from(fine, (noise, i) => {
    const [channel, pixel] = [i % 3, Math.floor(i / 3)];
    const [y, x] = [Math.floor(pixel / SIZE), pixel % SIZE];
    return Math.floor((3 * coarse[((y >> 4) * 14 + (x >> 4)) * 3 + channel] + noise) / 4);
  });
}

describe('the shipped DeiT-Ti', () => {
  const engine = useEngine();

  it('gives the logits that timm computes in float64', async () => {
    const { model, spec } = await openModel(engine(), 'shipped', undefined);
    expect(spec).toBe('deit_tiny_patch16_224');
    expect(model.numParameters()).toBe(5_717_416);
    const images = new Float32Array(crops.length * 3 * SIZE * SIZE);
    const tables = normalizationTables(imagenetNormalization);
    crops.forEach((name, i) => {
      writeChw({ width: SIZE, height: SIZE, data: crop(name) }, tables, images, i * 3 * SIZE * SIZE);
    });
    model.eval();
    const { cls, dist } = engine().noGrad(() => model.heads(engine().tensor(images, [crops.length, 3, SIZE, SIZE])));
    expect(dist).toBeNull();
    const expected = goldenTensors('shipped.safetensors')('logits').values;
    // PyTorch's own float32 is off by `drift` (9e-7); other orders of summation over twelve blocks by a few times that.
    expect(relativeError(await cls.read(), expected)).toBeLessThan(8 * drift);
  });

  it('names its classes itself, by the list that serves other ImageNet checkpoints too', async () => {
    const { card } = await openModel(engine(), 'shipped', undefined);
    const names = imagenetClasses();
    expect(names).toHaveLength(1000);
    expect(new Set(names).size).toBe(1000);
    expect([names[0], names[207], names[999]]).toEqual(['tench', 'Golden Retriever', 'toilet paper']);
    expect(card!.classes).toEqual(names);
    expect(classNames(null, 1000)).toEqual(names);
    expect(classNames(null, 3)).toEqual(['class 0', 'class 1', 'class 2']);
  });
});
