import { formatBytes } from '../../engine/index.ts';
import { openSources, tellData } from '../train/node/sources.ts';
import { describeModel } from '../models/registry.ts';
import { planTraining, refuseUnfit } from '../train/training-plan.ts';
import { withEngine } from './session.ts';
import { recipeOf } from './recipe-options.ts';
import type { TrainOptions } from './recipe-options.ts';

/** `deit plan`: what a training will need, without running it. */
export async function plan(options: TrainOptions): Promise<void> {
  const { name, recipe } = await recipeOf(options);
  await withEngine({ ...options, seed: recipe['run.seed'] }, async (engine, say) => {
    const sources = await openSources(recipe, describeModel(recipe['model.name']).imageSize);
    tellData(sources.notes, say);
    const found = await planTraining(engine, recipe, sources.classes.length, { search: true }).finally(() =>
      sources.close(),
    );
    say(`recipe: ${name}, ${found.batch} images a micro-batch`);
    const rows = { ...found.parts, 'peak of GPU memory': found.peakBytes };
    for (const [part, bytes] of Object.entries(rows)) say(`  ${part.padEnd(20)} ${formatBytes(bytes).padStart(10)}`);
    const budget = Number.isFinite(found.budget) ? formatBytes(found.budget) : 'no limit known';
    say(`  ${'allowed'.padEnd(20)} ${budget.padStart(10)}`);
    const { bytes, where } = found.largestBinding;
    say(`largest binding: ${formatBytes(bytes)} of ${formatBytes(found.largestBindingAllowed)}, ${where}`);
    say(`dispatches a step: ${found.dispatches}`);
    say(`largest micro-batch that fits: ${found.largestBatch} images`);
    if (options.json) process.stdout.write(`${JSON.stringify(found)}\n`);
    refuseUnfit(found, recipe);
  });
}
