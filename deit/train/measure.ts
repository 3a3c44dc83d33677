/** How long a training takes, from a few steps of it. Browser-safe. */
import type { Engine } from '../../engine/index.ts';
import type { Recipe } from '../recipe/settings.ts';
import { emptyTraining } from './training-plan.ts';
import { microBatch } from './setup.ts';

export interface TrainingTimes {
  readonly secondsPerStep: number;
  /** Of the evaluation of one image. */
  readonly secondsPerImage: number;
}

const MEASURED = 3;

/**
 * Times a few steps of the student's training and an evaluated batch, after a first of each, which compiles. Reading and
 * augmenting images is not in it: worker threads do that meanwhile.
 */
export async function measureTraining(engine: Engine, recipe: Recipe, classes: number): Promise<TrainingTimes> {
  const { trainStep, evaluator, step } = await emptyTraining(engine, recipe, classes);
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const start = performance.now();
    await work();
    return (performance.now() - start) / 1000;
  };
  try {
    await step(0);
    const steps: number[] = [];
    for (let number = 1; number <= MEASURED; number++) steps.push(await timed(() => step(number)));
    await evaluator.run();
    const batch = await timed(() => evaluator.run());
    const [secondsPerStep] = steps.sort((a, b) => a - b).slice(MEASURED >> 1);
    return { secondsPerStep, secondsPerImage: batch / microBatch(recipe) };
  } finally {
    trainStep.release();
    evaluator.release();
  }
}
