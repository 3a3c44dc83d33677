import { gridSide, tokenCount } from './deit-config.ts';
import type { DeitConfig } from './deit-config.ts';
import { LayerBuilder, linearLayer } from './describe.ts';
import type { ModelDescription } from './describe.ts';

/** Layers, tensors, parameters and multiply-adds of a DeiT. */
export function describeDeit(config: DeitConfig): ModelDescription {
  const { width, depth, inChans, patchSize, classes, distilled } = config;
  const patches = gridSide(config) ** 2;
  const tokens = tokenCount(config);
  const sequence = [tokens, width];
  const norm = (name: string): LayerBuilder =>
    new LayerBuilder(name, 'LayerNorm', sequence).parameters({ weight: [width], bias: [width] });

  const model = new LayerBuilder('', 'VisionTransformer', [classes]).parameters({
    cls_token: [1, 1, width],
    pos_embed: [1, tokens, width],
    ...(distilled && { dist_token: [1, 1, width] }),
  });
  const projection = new LayerBuilder('proj', 'Conv2d', [width, gridSide(config), gridSide(config)])
    .parameters({ weight: [width, inChans, patchSize, patchSize], bias: [width] })
    .cost(patches * width * inChans * patchSize ** 2);
  model.part(new LayerBuilder('patch_embed', 'PatchEmbed', [patches, width]).part(projection));
  for (let block = 0; block < depth; block++) {
    const attention = new LayerBuilder('attn', 'Attention', sequence)
      .part(linearLayer('qkv', width, 3 * width, [tokens]))
      // The products of queries and keys, and of weights and values, over all heads.
      .cost(2 * tokens * tokens * width)
      .part(linearLayer('proj', width, width, [tokens]));
    const mlp = new LayerBuilder('mlp', 'Mlp', sequence)
      .part(linearLayer('fc1', width, config.dFf, [tokens]))
      .part(linearLayer('fc2', config.dFf, width, [tokens]));
    const layer = new LayerBuilder(`blocks.${block}`, 'Block', sequence);
    for (const part of [norm('norm1'), attention, norm('norm2'), mlp]) layer.part(part);
    model.part(layer);
  }
  model.part(norm('norm')).part(linearLayer('head', width, classes, []));
  if (distilled) model.part(linearLayer('head_dist', width, classes, []));
  return model.describe();
}
