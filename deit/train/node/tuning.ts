/** Node only. Kernel variants of a training run: measured once, and the same ever after. */
import { readFile } from 'node:fs/promises';
import { describeTuning, parseVariantChoices, tune } from '../../../engine/node.ts';
import type { CachedTuneOptions, Engine, VariantChoices } from '../../../engine/node.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { planTraining, refuseUnfit } from '../training-plan.ts';
import type { RunFolder } from './run-folder.ts';

const FILE = 'variants.json';

/**
 * Has the engine compute by the variants that a run was begun with (`saved` by its checkpoint, or else in its folder), or
 * else, if the recipe says so, measures them for its training step and writes them down.
 */
export async function settleVariants(
  engine: Engine,
  { recipe, folder, classes }: { recipe: Recipe; folder: RunFolder; classes: number },
  saved: VariantChoices | null,
  say: (line: string) => void,
  options: CachedTuneOptions = {},
): Promise<void> {
  const begun = saved ?? (await readChoices(folder.file(FILE)));
  if (begun) {
    if (engine.variants.replace(begun)) {
      const { unknown } = engine.variants;
      if (unknown > 0) {
        say(
          `tuner: ${unknown} kernel variants of this run are of another version and are not used; results will differ in the last bits`,
        );
      }
      return;
    }
    if (Object.keys(begun.choices).length > 0) {
      say('tuner: the kernel variants of this run were chosen on another device; results will differ in the last bits');
    }
  }
  if (!recipe['run.tune']) return;
  // A whole training step, recorded on an engine that runs nothing.
  const asked = await engine.variants.collect(async () => {
    refuseUnfit(await planTraining(engine, recipe, classes, { search: false }), recipe);
  });
  const report = await tune(engine, asked, options);
  say(`tuner: ${describeTuning(report)}`);
  await folder.writeJson(FILE, engine.variants.export());
}

/** Null where there are none, or none that can be read: no step has been saved that was computed by them. */
async function readChoices(path: string): Promise<VariantChoices | null> {
  return readFile(path)
    .then((content) => parseVariantChoices(content, path))
    .catch(() => null);
}
