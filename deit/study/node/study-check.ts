/** Whether the runs of a study can be made, before the first step of any. Node only. */
import { DeitError } from '../../../engine/node.ts';
import type { Engine } from '../../../engine/node.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { createModel, describeModel } from '../../models/registry.ts';
import { loadModel, openCheckpoint } from '../../train/node/checkpoint.ts';
import { specFor, teacherSpec } from '../../train/node/run-models.ts';
import { mixingOf } from '../../train/setup.ts';
import { planTraining, refuseUnfit } from '../../train/training-plan.ts';
import { RUN } from './plan.ts';
import type { DataFacts, StudyPlan } from './plan.ts';

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
  // Most runs of a study have the same weights, which may be large.
  const checked = new Set<string>();
  for (const run of runs) {
    try {
      const recipe = await withTeacher(run.recipe);
      const { classes } = factsOf(recipe);
      specFor(recipe['model.name'], { classes, name: recipe['data.path'] });
      const weights = JSON.stringify(CHECKED.map((name) => recipe[name]));
      if (!checked.has(weights)) await checkWeights(engine, recipe, classes);
      checked.add(weights);
      const cost = costOf(run.recipe);
      if (!byCost.has(cost)) {
        const plan = await planTraining(engine, recipe, classes.length, { search: false });
        byCost.set(cost, plan.peakBytes);
        refuseUnfit(plan, recipe);
      }
    } catch (error) {
      if (!(error instanceof DeitError)) throw error;
      problems.add(`${run.label}: ${error.message}`);
    }
  }
  if (problems.size === 0) return byCost;
  throw new DeitError('bad-config', 'Runs of the study cannot be made; none was begun.', {
    found: [...problems].join('; '),
  });
}

/** Settings by which it is decided whether weights fit. */
const CHECKED = [
  'model.name',
  'model.weights',
  'model.posEmbed',
  'teacher.model',
  'teacher.weights',
  'data.path',
] as const;

/** Weights are loaded into models on an engine that runs nothing. */
async function checkWeights(engine: Engine, recipe: Recipe, classes: readonly string[]): Promise<void> {
  const [own, teacher] = [recipe['model.weights'], recipe['teacher.weights']];
  if (own !== null && !own.startsWith(RUN)) await openCheckpoint(own, { model: recipe['model.name'] });
  if (teacher === null || teacher.startsWith(RUN)) return;
  const { imageSize } = describeModel(recipe['model.name']);
  const spec = teacherSpec(recipe, { classes, name: recipe['data.path'] }, imageSize, true);
  const dry = engine.dry();
  try {
    const model = createModel(dry.engine, spec);
    loadModel(model, await openCheckpoint(teacher), { classes, posEmbed: recipe['model.posEmbed'] }, () => {});
    await dry.engine.idle();
  } finally {
    dry.engine.close();
  }
}
