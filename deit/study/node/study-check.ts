/** Whether the runs of a study can be made, before the first step of any. Node only. */
import { DeitError } from '../../../engine/node.ts';
import type { Engine } from '../../../engine/node.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { alignClasses } from '../../weights/classes.ts';
import { openCheckpoint } from '../../train/node/checkpoint.ts';
import { headClasses } from '../../train/node/class-names.ts';
import { specFor } from '../../train/node/run-models.ts';
import { mixingOf } from '../../train/setup.ts';
import { planTraining, refuseUnfit } from '../../train/training-plan.ts';
import { RUN } from './plan.ts';
import type { DataFacts, PlannedRun, StudyPlan } from './plan.ts';

/** Recipes that cost the same have the same of it. */
export function costOf(recipe: Recipe): string {
  const telling = Object.entries(recipe).filter(([name]) => /^(model|optim|distillation)\.|^teacher\.model|^data\.(batchSize|accumulate|path)/.test(name) && name !== 'model.weights'); // prettier-ignore
  return JSON.stringify([...telling, mixingOf(recipe, 'student') !== null, recipe['run.trainMode']]);
}

/** A recipe with a model for the teacher that comes with weights, to be planned. */
async function withTeacher(recipe: Recipe): Promise<Recipe> {
  const weights = recipe['teacher.weights'];
  if (recipe['teacher.model'] || !weights || weights.startsWith(RUN)) return recipe;
  return { ...recipe, 'teacher.model': (await openCheckpoint(weights)).card?.model ?? null };
}

/** The most GPU memory of each run, by `costOf` its recipe. Throws `bad-config` with all that is wrong with any of them. */
export async function checkRuns(
  engine: Engine,
  { runs }: StudyPlan,
  factsOf: (recipe: Recipe) => DataFacts,
): Promise<ReadonlyMap<string, number>> {
  const byCost = new Map<string, number>();
  const problems = new Set<string>();
  for (const run of runs) {
    try {
      const recipe = await withTeacher(run.recipe);
      const { classes } = factsOf(recipe);
      specFor(recipe['model.name'], { classes, name: recipe['data.path'] });
      await checkWeights(run, classes);
      const cost = costOf(run.recipe);
      if (!byCost.has(cost)) {
        const plan = await planTraining(engine, recipe, classes.length, { search: false });
        byCost.set(cost, plan.peakBytes);
        refuseUnfit(plan, recipe);
      }
    } catch (error) {
      if (!(error instanceof DeitError)) throw error;
      const { found, expected, where } = error.details;
      const told = [found && `found ${found}`, expected && `expected ${expected}`, where].filter(Boolean).join(', ');
      problems.add(`${run.label}: ${error.message}${told ? ` (${told})` : ''}`);
    }
  }
  if (problems.size === 0) return byCost;
  throw new DeitError('bad-config', 'Runs of the study cannot be made; none was begun.', {
    found: [...problems].join('; '),
  });
}

async function checkWeights({ recipe }: PlannedRun, classes: readonly string[]): Promise<void> {
  const [own, teacher] = [recipe['model.weights'], recipe['teacher.weights']];
  if (own !== null && !own.startsWith(RUN)) await openCheckpoint(own, { model: recipe['model.name'] });
  if (teacher === null || teacher.startsWith(RUN)) return;
  const { card, tensors } = await openCheckpoint(teacher);
  const head = [...tensors].find(([name]) => /(^|\.)(head(\.fc)?|classifier|fc)\.weight$/.test(name))?.[1];
  const count = card?.classes.length ?? head?.shape[0];
  if (count === undefined) return;
  alignClasses({ head: headClasses(card), count, wanted: classes, policy: 'subset', where: teacher });
}
