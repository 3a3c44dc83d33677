import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DeitError } from '../../engine/index.ts';
import { describeModel, modelNames, summarizeModel } from '../../deit/models/registry.ts';

interface Published {
  parameters: number;
  tensors: Record<string, number[]>;
}
/** timm's own state dicts, in order: see test/golden/names.py. */
const { models: published } = JSON.parse(readFileSync('test/golden/names.json', 'utf8')) as {
  models: Record<string, Published>;
};

function failure(work: () => unknown): DeitError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(DeitError);
    return error as DeitError;
  }
  throw new Error('nothing was thrown');
}

describe('published models', () => {
  it('are all known', () => {
    expect(modelNames()).toEqual(expect.arrayContaining(Object.keys(published)));
  });

  it.each(Object.entries(published))("%s has timm's tensors", (name, { parameters, tensors }) => {
    const found = summarizeModel(name);
    expect(found.parameters).toBe(parameters);
    expect(found.tensors.map(({ name, shape }) => [name, shape])).toEqual(Object.entries(tensors));
  });

  // spec: multiply-adds with the products of attention counted.
  it.each([
    ['deit_tiny_patch16_224', 1_253_683_200],
    ['deit_tiny_distilled_patch16_224', 1_261_003_776],
    ['deit_small_patch16_224', 4_598_882_304],
    ['deit_small_distilled_patch16_224', 4_624_140_288],
    ['deit_base_patch16_224', 17_563_828_224],
    ['deit_base_distilled_patch16_224', 17_656_811_520],
    ['deit_base_patch16_384', 55_484_350_464],
    ['deit_base_distilled_patch16_384', 55_591_342_080],
  ])('%s takes the multiply-adds of the literature', (name, multiplyAdds) => {
    expect(summarizeModel(name).multiplyAdds).toBe(multiplyAdds);
  });

  it('add up: every layer has the parameters and multiply-adds of its parts', () => {
    const { layers, tensors, parameters, multiplyAdds } = summarizeModel('deit_tiny_distilled_patch16_224');
    expect(layers[0]).toMatchObject({ path: '', parameters, multiplyAdds, outputShape: [1000] });
    for (const { path, parameters } of layers.filter(({ path }) => path !== '')) {
      const below = tensors.filter(({ name }) => name.startsWith(`${path}.`));
      const size = below.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0);
      expect([path, parameters]).toEqual([path, size]);
    }
    // The worked table of DeiT-Ti: one block, and its attention.
    const block = layers.find(({ path }) => path === 'blocks.0')!;
    expect(block.parameters).toBe(444_864);
    expect(block.multiplyAdds).toBe(198 * 12 * 192 * 192 + 2 * 198 * 198 * 192);
  });
});

describe('model options', () => {
  it('are taken under all their names, and printed under one', () => {
    const spec =
      'deit_tiny_distilled_patch16_224 img_size=4 patch_size=2 embed_dim=8 depth=2 num_heads=2 num_classes=4';
    const found = describeModel(spec);
    const again = describeModel(
      'deit_tiny_distilled_patch16_224  image-size=4 patch=2 width=8  depth=2 heads=2 classes=4',
    );
    expect(again).toEqual(found);
    expect(found.spec).toBe(spec);
    expect(found).toMatchObject({ imageSize: 4, classes: 4, distilled: true });
    // The seed case of the worked examples: 256 + 872 parameters a block.
    expect(summarizeModel(spec).parameters).toBe(256 + 872 * 2);
  });

  it('are overridden by what the code asks for', () => {
    const found = describeModel('deit_tiny_patch16_224 num_classes=7', { classes: 10, dropPath: 0.1 });
    expect(found).toMatchObject({ classes: 10, spec: 'deit_tiny_patch16_224 num_classes=10 drop_path=0.1' });
  });

  it('and names that do not exist are named, with the nearest one', () => {
    const model = failure(() => describeModel('deit_tyny_patch16_224'));
    expect([model.code, model.details.fix]).toEqual(['unknown-name', 'did you mean deit_tiny_patch16_224?']);
    const option = failure(() => describeModel('deit_tiny_patch16_224 img_sise=32 depht=3'));
    expect([option.code, option.details.fix]).toEqual(['unknown-name', 'did you mean img_size, depth?']);
    expect(failure(() => describeModel('')).code).toBe('unknown-name');
  });

  it.each([
    ['img_size=30', 'not a multiple of patchSize'],
    ['img_size=many', 'a number is needed'],
    ['img_size=', 'a number is needed'],
    ['depth', 'a number is needed'],
    ['depth=1.5', 'depth is 1.5'],
    ['depth=2 depth=3', 'twice'],
    ['num_heads=5', 'not a multiple of heads'],
    ['embed_dim=0', 'width is 0'],
    ['drop_path=1', 'not in [0, 1)'],
  ])('%s is refused', (options, complaint) => {
    const error = failure(() => describeModel(`deit_tiny_patch16_224 ${options}`));
    expect(error.code).toBe('bad-config');
    expect(error.message).toContain(complaint);
  });
});
