/** Looks for a learning rate of a recipe: trains new weights a little, writes nothing. Node only. */
import type { Engine } from '../../../engine/index.ts';
import { createModel, describeModel } from '../../models/registry.ts';
import type { Classifier } from '../../models/classifier.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { LrFinder, lrOfStep } from '../lr-finder.ts';
import type { LrRange, LrSuggestion } from '../lr-finder.ts';
import { classWeightsOf, distillationOf, lrScale, microBatch, mixingOf, optimizerOf, studentOf } from '../setup.ts';
import { TrainStep } from '../step.ts';
import { trainSteps } from '../train-steps.ts';
import type { StepProgress } from '../train-steps.ts';
import { loadModel, openCheckpoint } from './checkpoint.ts';
import { frozen, specFor, teacherSpec } from './run-models.ts';
import { openSources, tellData } from './sources.ts';
import type { Sources } from './sources.ts';

export interface FindLrOptions {
  /** As the recipe counts them (`optim.lr`). */
  readonly range: LrRange;
  readonly say: (line: string) => void;
  readonly onStep?: (progress: StepProgress) => void;
  readonly signal?: AbortSignal;
}

/**
 * The range test over a recipe: its model with new weights, or those that it starts from, its data, optimizer and losses. A
 * teacher that would be trained first is left out. Rates are values of `optim.lr`. No file is written.
 */
export async function findLr(engine: Engine, asked: Recipe, options: FindLrOptions): Promise<LrSuggestion> {
  const { range, say, signal } = options;
  const weights = asked['teacher.weights'];
  const isAlone = asked['distillation.type'] !== 'none' && !weights;
  if (isAlone) say('without the teacher, which would be trained first: by the labels alone');
  const recipe: Recipe = isAlone ? { ...asked, 'distillation.type': 'none' } : asked;
  const scale = lrScale(recipe);
  const { imageSize } = describeModel(recipe['model.name']);
  const sources = await openSources(recipe, imageSize);
  const finder = new LrFinder();
  try {
    tellData(sources.notes, say);
    const model = await student(engine, recipe, sources, say);
    const teacher = weights && recipe['distillation.type'] !== 'none' ? await teacherWith(engine, recipe, weights, sources, imageSize, say) : null; // prettier-ignore
    const accumulate = recipe['data.accumulate'];
    const source = sources.training(microBatch(recipe));
    const optimizer = optimizerOf(recipe, 'student', model);
    model.train(recipe['run.trainMode']);
    const trainStep = new TrainStep({
      engine,
      student: model,
      teacher,
      optimizer,
      ema: null,
      distillation: distillationOf(recipe, teacher !== null),
      smoothing: recipe['augment.smoothing'],
      classWeights: classWeightsOf(recipe, sources.train),
      mixing: mixingOf(recipe, 'student'),
      batchSize: source.batchSize,
      accumulate,
      imageSize,
      nonFinite: 'stop',
    });
    const steps = trainSteps({
      source,
      accumulate,
      length: { steps: range.steps, seconds: null },
      schedule: (step) => scale * lrOfStep(range, step),
      run: (batches, step, lr, _total, wishes) => trainStep.begin(batches, step, lr, wishes),
      ...(signal ? { signal } : {}),
    });
    for await (const { progress } of steps) {
      options.onStep?.(progress);
      const loss = progress.nonFinite > 0 ? Infinity : progress.loss;
      if (finder.add(progress.lr / scale, loss)) break;
    }
    trainStep.release();
    optimizer.free();
    return finder.result();
  } finally {
    await sources.close();
  }
}

async function student(
  engine: Engine,
  recipe: Recipe,
  sources: Sources,
  say: FindLrOptions['say'],
): Promise<Classifier> {
  const spec = specFor(recipe['model.name'], sources);
  const model = studentOf(engine, recipe, spec);
  const weights = recipe['model.weights'];
  if (weights) {
    const how = { classes: sources.classes, newHead: true, posEmbed: recipe['model.posEmbed'] };
    loadModel(model, await openCheckpoint(weights, { model: spec }), how, say);
  }
  return model;
}

async function teacherWith(
  engine: Engine,
  recipe: Recipe,
  weights: string,
  sources: Sources,
  imageSize: number,
  say: FindLrOptions['say'],
): Promise<Classifier> {
  const named = recipe['teacher.model'] ? recipe : { ...recipe, 'teacher.model': (await openCheckpoint(weights)).card?.model ?? null }; // prettier-ignore
  const spec = teacherSpec(named, sources, imageSize, true);
  const model = createModel(engine, spec);
  const how = { classes: sources.classes, posEmbed: recipe['model.posEmbed'] };
  loadModel(model, await openCheckpoint(weights, { model: spec }), how, say);
  return frozen(model, recipe);
}
