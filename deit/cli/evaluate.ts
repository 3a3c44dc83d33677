import { defaultRecipe } from '../recipe/settings.ts';
import { describeModel } from '../models/registry.ts';
import { Evaluator } from '../train/evaluate.ts';
import { openSources } from '../train/node/sources.ts';
import { openModel } from './model-files.ts';
import { percent } from './progress.ts';
import { parseNumber, withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface EvaluateOptions extends GlobalOptions {
  weights: string;
  model?: string;
  data?: string;
  batchSize: string;
}

/** `deit evaluate`: accuracy of every head on the held-out images of a data set. */
export async function evaluate(options: EvaluateOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const { model, spec, card } = await openModel(engine, options.weights, options.model);
    const recipe = defaultRecipe();
    recipe['data.path'] = options.data ?? card?.data ?? recipe['data.path'];
    const { imageSize } = describeModel(spec);
    const sources = await openSources(recipe, imageSize);
    try {
      const batches = sources.evaluation(parseNumber(options.batchSize, '--batch-size'));
      const accuracy = await new Evaluator(engine, model, batches, imageSize).run();
      say(`${spec} on ${accuracy.images} images of ${sources.name}`);
      say(`  class head         ${percent(accuracy.class)}`);
      if (accuracy.distillation !== null) {
        say(`  distillation head  ${percent(accuracy.distillation)}`);
        say(`  average of both    ${percent(accuracy.average)}`);
      }
      if (options.json) process.stdout.write(`${JSON.stringify({ model: spec, data: sources.name, accuracy })}\n`);
    } finally {
      await sources.close();
    }
  });
}
