import type { ModelFamily } from './family.ts';
import { regnetyConfig, regnetyModels } from './regnety-config.ts';
import type { RegNetYConfig } from './regnety-config.ts';
import { RegNetY } from './regnety.ts';

export const regnetyFamily: ModelFamily<RegNetYConfig> = {
  models: regnetyModels,
  options: {
    imageSize: ['img_size', 'image_size'],
    inChans: ['in_chans'],
    w0: ['w0'],
    wa: ['wa'],
    wm: ['wm'],
    depth: ['depth'],
    groupWidth: ['group_width', 'group_size'],
    seRatio: ['se_ratio'],
    stemWidth: ['stem_width'],
    stemStride: ['stem_stride'],
    classes: ['num_classes', 'classes'],
  },
  config: regnetyConfig,
  create: (engine, config) => new RegNetY(engine, config),
  facts: ({ imageSize, inChans, classes }) => ({ imageSize, inChans, classes, distilled: false }),
};
