import { VisionTransformer } from './deit.ts';
import { deitConfig, hasDistHead } from './deit-config.ts';
import type { DeitConfig } from './deit-config.ts';
import type { ModelFamily } from './family.ts';

const sizes: Readonly<Record<string, Partial<DeitConfig>>> = {
  tiny: { width: 192, heads: 3 },
  small: { width: 384, heads: 6 },
  base: { width: 768, heads: 12 },
};

function published(): Record<string, Partial<DeitConfig>> {
  const models: Record<string, Partial<DeitConfig>> = {};
  for (const [size, shape] of Object.entries(sizes)) {
    for (const imageSize of size === 'base' ? [224, 384] : [224]) {
      models[`deit_${size}_patch16_${imageSize}`] = { ...shape, imageSize };
      models[`deit_${size}_distilled_patch16_${imageSize}`] = { ...shape, imageSize, distilled: true };
    }
  }
  return models;
}

export const deitFamily: ModelFamily<DeitConfig> = {
  models: published(),
  options: {
    imageSize: ['img_size', 'image_size'],
    patchSize: ['patch_size', 'patch'],
    inChans: ['in_chans'],
    width: ['embed_dim', 'width'],
    depth: ['depth'],
    heads: ['num_heads', 'heads'],
    dFf: ['d_ff'],
    classes: ['num_classes', 'classes'],
    distHead: ['dist_head'],
    dropPath: ['drop_path', 'drop_path_rate'],
    dropout: ['drop_rate', 'dropout'],
    eps: ['eps'],
  },
  config: deitConfig,
  create: (engine, config) => new VisionTransformer(engine, config),
  facts: (config) => {
    const { imageSize, inChans, classes } = config;
    return { imageSize, inChans, classes, distilled: hasDistHead(config) };
  },
};
