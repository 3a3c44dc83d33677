import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { regnetyConfig, regnetyModels, regnetyStages, roundHalfEven } from '../../deit/models/regnety-config.ts';
import type { RegNetYName } from '../../deit/models/regnety-config.ts';
import { summarizeModel } from '../../deit/models/registry.ts';

/** Widths, depths, groups, parameters and multiply-adds at 224 pixels, as pycls publishes them. */
const published: readonly [RegNetYName, number[], number[], number[], number, number][] = [
  ['regnety_002', [24, 56, 152, 368], [1, 1, 4, 7], [3, 7, 19, 46], 3_162_996, 199_519_076],
  ['regnety_004', [48, 104, 208, 440], [1, 3, 6, 6], [6, 13, 26, 55], 4_344_144, 401_849_056],
  ['regnety_006', [48, 112, 256, 608], [1, 3, 7, 4], [3, 7, 16, 38], 6_055_160, 601_227_608],
  ['regnety_008', [64, 128, 320, 768], [1, 3, 8, 2], [4, 8, 20, 48], 6_263_168, 797_183_328],
  ['regnety_016', [48, 120, 336, 888], [2, 6, 17, 2], [2, 5, 14, 37], 11_202_430, 1_612_087_326],
  ['regnety_032', [72, 216, 576, 1512], [2, 5, 13, 1], [3, 9, 24, 63], 19_436_338, 3_176_496_162],
  ['regnety_040', [128, 192, 512, 1088], [2, 6, 12, 2], [2, 3, 8, 17], 20_646_656, 3_973_301_344],
  ['regnety_064', [144, 288, 576, 1296], [2, 7, 14, 2], [2, 4, 8, 18], 30_583_252, 6_355_221_876],
  ['regnety_080', [168, 448, 896, 2016], [2, 4, 10, 1], [3, 8, 16, 36], 39_180_068, 7_963_074_196],
  ['regnety_120', [224, 448, 896, 2240], [2, 5, 11, 1], [2, 4, 8, 20], 51_822_544, 12_092_395_504],
  ['regnety_160', [224, 448, 1232, 3024], [2, 4, 11, 1], [2, 4, 11, 27], 83_590_140, 15_911_534_044],
  ['regnety_320', [232, 696, 1392, 3712], [2, 5, 12, 1], [1, 3, 6, 16], 145_046_770, 32_279_583_362],
];

describe('the RegNetY family', () => {
  it.each(published)('%s has the published stages and counts', (name, widths, depths, groups, parameters, cost) => {
    const config = regnetyConfig(regnetyModels[name]);
    const stages = regnetyStages(config);
    expect(stages.map((stage) => stage.width)).toEqual(widths);
    expect(stages.map((stage) => stage.depth)).toEqual(depths);
    expect(stages.map((stage) => stage.groups)).toEqual(groups);
    const description = summarizeModel(name);
    expect(description.parameters).toBe(parameters);
    expect(description.multiplyAdds).toBe(cost);
  });

  it('has the tensors of timm, by name, shape and order', () => {
    const url = new URL('../golden/names.json', import.meta.url);
    const golden = JSON.parse(readFileSync(url, 'utf8')) as {
      models: Record<string, { tensors: Record<string, number[]> }>;
    };
    for (const [name] of published) {
      const { tensors } = summarizeModel(name);
      expect(
        tensors.map((tensor) => [tensor.name, tensor.shape]),
        name,
      ).toEqual(Object.entries(golden.models[name].tensors));
    }
  });

  it('costs what its parts cost: regnety_160 by part', () => {
    const { layers } = summarizeModel('regnety_160');
    const total = (prefix: string): [number, number] => {
      const parts = layers.filter(({ path, depth }) => depth === 1 && path.startsWith(prefix));
      return [
        parts.reduce((sum, { parameters }) => sum + parameters, 0),
        parts.reduce((sum, { multiplyAdds }) => sum + multiplyAdds, 0),
      ];
    };
    expect(total('stem')).toEqual([928, 10_838_016]);
    expect(total('s1.')).toEqual([648_768, 2_000_646_656]);
    expect(total('s2.')).toEqual([3_777_032, 2_911_364_232]);
    expect(total('s3.')).toEqual([54_604_200, 9_473_584_232]);
    expect(total('s4.')).toEqual([21_534_212, 1_512_075_908]);
    expect(total('head')).toEqual([3_025_000, 3_025_000]);
  });

  it('rounds halves to the even number', () => {
    expect([8.5, 9.5, 48.5, 0.5, 1.5, 2.4, 2.6, 7].map(roundHalfEven)).toEqual([8, 10, 48, 0, 2, 2, 3, 7]);
  });

  it('lists all that is wrong with a configuration', () => {
    expect(() => regnetyConfig({ w0: 20, wm: 1, seRatio: 0, stemStride: 3 })).toThrow(
      /w0 20 is not a multiple of 8; wm is 1, not above 1; seRatio is 0.*; stemStride is 3/,
    );
  });
});
