import {
  DataLoader,
  expectReadableClasses,
  ImageProblems,
  ImageWorkers,
  openData,
  openPart,
} from '../../data/node/index.ts';
import { equalJitter, evaluationPipeline, trainingPipeline } from '../../data/index.ts';
import type { Dataset, EvaluationPipeline, Split, TrainingPipeline } from '../../data/index.ts';
import type { LoaderOptions, OpenedData, OpenedPart, ReadDataOptions, SplitOptions } from '../../data/node/index.ts';
import type { Communicator } from '../../parallel/communicator.ts';
import type { Share } from '../../parallel/slices.ts';
import type { Recipe } from '../../recipe/settings.ts';
import type { HeldOut } from '../../weights/model-card.ts';

/** The data of a run: loaders over the training and the validation images, on shared worker threads. */
export interface Sources extends MeasuredSources {
  readonly train: Dataset;
  readonly split: HeldOut['split'];
  /** Batches for training, or a share of them; several loaders may exist at a time (teacher, student). */
  training(batchSize: number, share?: Share): DataLoader;
  /** Brings together what ranks have met of images that cannot be read; to be called on all. */
  shareProblems(ranks: Communicator): Promise<void>;
}

/** The data that a model is measured on. */
export interface MeasuredSources {
  readonly name: string;
  readonly classes: readonly string[];
  /** What was understood of the data, a line each. */
  readonly notes: readonly string[];
  /** How the images were chosen: `drawn` by seed, `given` by the data, or the `whole` of data that is not divided. */
  readonly split: OpenedPart['split'];
  readonly validation: Dataset;
  /** Its batches, or a share of them. */
  evaluation(batchSize: number, share?: Share): DataLoader;
  /** Images that could not be read and were left out so far, and what else there is to tell. */
  readonly problems: ImageProblems;
  close(): Promise<void>;
}

/**
 * Opens the data set that a recipe names, with its augmentation for images of `imageSize`. `evaluation` says how held-out
 * images are prepared, where a checkpoint wants it otherwise than DeiT.
 */
export async function openSources(
  recipe: Recipe,
  imageSize: number,
  evaluation: Partial<EvaluationPipeline> = {},
): Promise<Sources> {
  const { train, val, split, notes } = await openTrainingData(recipe);
  const loaders = new Loaders(recipe, train);
  if (recipe['data.unreadable'] === 'skip') await loaders.expectReadableClasses(train);
  return {
    ...measuredBy(loaders, { dataset: val, notes }, { ...evaluation, imageSize }),
    split,
    train,
    training: (batchSize, share) => loaders.training(train, imageSize, batchSize, share),
    shareProblems: async (ranks) => {
      if (ranks.size > 1) await loaders.problems.share(ranks, [train, val]);
    },
  };
}

/** The images that a recipe trains on and those that it holds out. */
export const openTrainingData = (recipe: Recipe): Promise<OpenedData> =>
  openData(recipe['data.path'], { ...readOptions(recipe), ...divisionOf(recipe) });

/**
 * Opens a part of the data that a recipe names to measure a model on, or all of data that is not divided: see `openPart`.
 * `divided`: as a training with this recipe divides it.
 */
export async function openMeasured(
  recipe: Recipe,
  evaluation: Partial<EvaluationPipeline> & { imageSize: number },
  { part, divided }: { part: Split | undefined; divided: boolean },
): Promise<MeasuredSources> {
  const division = divided ? divisionOf(recipe) : undefined;
  const opened = await openPart(recipe['data.path'], part, { ...readOptions(recipe), division });
  return { ...measuredBy(new Loaders(recipe, opened.dataset), opened, evaluation), split: opened.split };
}

function measuredBy(
  loaders: Loaders,
  { dataset, notes }: Pick<OpenedPart, 'dataset' | 'notes'>,
  evaluation: Partial<EvaluationPipeline> & { imageSize: number },
): Omit<MeasuredSources, 'split'> {
  return {
    name: dataset.name,
    classes: dataset.classes,
    notes,
    validation: dataset,
    problems: loaders.problems,
    evaluation: (batchSize, share) => loaders.evaluation(dataset, evaluation, batchSize, share),
    close: () => loaders.close(),
  };
}

const divisionOf = (recipe: Recipe): SplitOptions => ({
  valFraction: recipe['data.valFraction'],
  seed: recipe['run.seed'],
  folds: recipe['data.folds'],
  fold: recipe['data.fold'],
});

const readOptions = (recipe: Recipe): ReadDataOptions => ({
  valFile: recipe['data.valPath'] ?? undefined,
  root: recipe['data.root'] ?? undefined,
  links: recipe['data.links'],
  labelColumn: recipe['data.labelColumn'] ?? undefined,
});

/** Tells what was understood of data, in the same words wherever data is opened. */
export function tellData([headline, ...notes]: readonly string[], say: (line: string) => void): void {
  say(`data: ${headline}`);
  for (const note of notes) say(`  ${note}`);
}

/** The loaders of a run, on shared worker threads. */
class Loaders {
  readonly problems: ImageProblems;
  private readonly workers: ImageWorkers;

  constructor(
    private readonly recipe: Recipe,
    dataset: Dataset,
  ) {
    this.workers = new ImageWorkers(dataset.path ? recipe['data.workers'] : 0);
    this.problems = new ImageProblems(recipe['data.maxUnreadable']);
  }

  /** Ends the threads where a class has no image that can be read. */
  async expectReadableClasses(dataset: Dataset): Promise<void> {
    try {
      await expectReadableClasses(dataset, this.workers);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  training(dataset: Dataset, imageSize: number, batchSize: number, share?: Share): DataLoader {
    const { recipe } = this;
    const interpolation = recipe['augment.interpolation'];
    const folder = recipe['data.cache'];
    return this.opened({
      dataset,
      cache: folder === null ? undefined : { folder, shorterSide: recipe['data.cacheSide'], interpolation },
      pipeline: trainingPipelineOf(recipe, imageSize),
      batchSize,
      shuffle: true,
      sampler: recipe['data.sampler'],
      dropLast: true,
      repeats: recipe['augment.repeats'],
      share,
      dealtTo: recipe['augment.repeatsStrided'] ? recipe['data.accumulate'] : 1,
    });
  }

  evaluation(
    dataset: Dataset,
    options: Partial<EvaluationPipeline> & { imageSize: number },
    batchSize: number,
    share?: Share,
  ): DataLoader {
    const pipeline = evaluationPipeline(options);
    return this.opened({ dataset, pipeline, batchSize, shuffle: false, dropLast: false, share });
  }

  close(): Promise<void> {
    return this.workers.close();
  }

  private opened(options: Omit<LoaderOptions, 'seed' | 'workers' | 'unreadable' | 'problems'>): DataLoader {
    const { recipe, workers, problems } = this;
    return new DataLoader({
      ...options,
      seed: recipe['run.seed'],
      workers,
      problems,
      unreadable: recipe['data.unreadable'],
    });
  }
}

function trainingPipelineOf(recipe: Recipe, imageSize: number): TrainingPipeline {
  const jitter = recipe['augment.colorJitter'];
  const pipeline = trainingPipeline({
    imageSize,
    crop: recipe['augment.crop'],
    padding: recipe['augment.padding'],
    scale: [recipe['augment.scaleMin'], 1],
    interpolation: recipe['augment.interpolation'],
    flipProbability: recipe['augment.flip'],
    autoAugment: recipe['augment.policy'],
    colorJitter: jitter > 0 ? equalJitter(jitter) : null,
    ...(recipe['augment.erasing'] > 0 ? {} : { erasing: null }),
  });
  if (pipeline.erasing) pipeline.erasing = { ...pipeline.erasing, probability: recipe['augment.erasing'] };
  return pipeline;
}
