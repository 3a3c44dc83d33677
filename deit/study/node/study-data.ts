/** The data of a study: what its plan has to know of each set. Node only. */
import { batchCount, sampleCount } from '../../data/sampler.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { microBatch } from '../../train/setup.ts';
import { openTrainingData } from '../../train/node/sources.ts';
import type { Entry } from '../definition.ts';
import type { DataFacts } from './plan.ts';

/** By the path that the study gives. Throws where one cannot be opened. */
export async function openStudyData(data: readonly Entry[], base: Recipe): Promise<ReadonlyMap<string, DataFacts>> {
  const opened = data.map(async ({ value }): Promise<[string, DataFacts]> => {
    const { train, val, split } = await openTrainingData({ ...base, 'data.path': value });
    const stepsPerEpoch = (recipe: Recipe): number => {
      const samples = sampleCount({ length: train.length, shuffle: true, repeats: recipe['augment.repeats'] });
      return Math.max(1, Math.floor(batchCount(samples, microBatch(recipe), true) / recipe['data.accumulate']));
    };
    return [value, { classes: train.classes, training: train.length, heldOut: val.length, drawn: split === 'drawn', stepsPerEpoch }]; // prettier-ignore
  });
  return new Map(await Promise.all(opened));
}
