import { DataLoader, ImageWorkers, openData } from '../../data/node/index.ts';
import { equalJitter, evaluationPipeline, trainingPipeline } from '../../data/index.ts';
import type { Dataset, EvaluationOptions } from '../../data/index.ts';
import type { Recipe } from '../../recipe/settings.ts';
import type { HeldOut } from './model-card.ts';

/** The data of a run: loaders over the training and the validation images, on shared worker threads. */
export interface Sources {
  readonly name: string;
  readonly classes: readonly string[];
  /** How the held-out images were chosen. */
  readonly split: HeldOut['split'];
  readonly train: Dataset;
  readonly validation: Dataset;
  /** Batches for training; several loaders may exist at a time (teacher, student). */
  training(batchSize: number): DataLoader;
  evaluation(batchSize: number): DataLoader;
  /** Images that could not be read and were left out so far: path and reason. */
  readonly skipped: ReadonlyMap<string, string>;
  close(): Promise<void>;
}

/**
 * Opens the data set that a recipe names, with its augmentation for images of `imageSize`. `evaluation` says how held-out
 * images are prepared, where a checkpoint wants it otherwise than DeiT.
 */
export async function openSources(
  recipe: Recipe,
  imageSize: number,
  evaluation: Partial<EvaluationOptions> = {},
): Promise<Sources> {
  const seed = recipe['run.seed'];
  const valFile = recipe['data.valPath'] ?? undefined;
  const data = await openData(recipe['data.path'], { valFraction: recipe['data.valFraction'], seed, valFile });
  const workers = new ImageWorkers(data.train.path ? recipe['data.workers'] : 0);
  const unreadable = recipe['data.unreadable'];
  const common = { seed, workers, unreadable };
  const interpolation = recipe['augment.interpolation'];
  const cache =
    recipe['data.cache'] === null
      ? undefined
      : { folder: recipe['data.cache'], shorterSide: recipe['data.cacheSide'], interpolation };
  const jitter = recipe['augment.colorJitter'];
  const pipeline = trainingPipeline({
    imageSize,
    crop: recipe['augment.crop'],
    padding: recipe['augment.padding'],
    scale: [recipe['augment.scaleMin'], 1],
    interpolation,
    flipProbability: recipe['augment.flip'],
    autoAugment: recipe['augment.policy'],
    colorJitter: jitter > 0 ? equalJitter(jitter) : null,
    ...(recipe['augment.erasing'] > 0 ? {} : { erasing: null }),
  });
  if (pipeline.erasing) pipeline.erasing = { ...pipeline.erasing, probability: recipe['augment.erasing'] };
  const loaders: DataLoader[] = [];
  const opened = (loader: DataLoader): DataLoader => {
    loaders.push(loader);
    return loader;
  };
  return {
    name: data.train.name,
    classes: data.train.classes,
    split: data.split,
    train: data.train,
    validation: data.val,
    get skipped() {
      return new Map(loaders.flatMap((loader) => [...loader.skipped]));
    },
    training: (batchSize) =>
      opened(
        new DataLoader({
          ...common,
          dataset: data.train,
          cache,
          pipeline,
          batchSize,
          shuffle: true,
          dropLast: true,
          repeats: recipe['augment.repeats'],
        }),
      ),
    evaluation: (batchSize) =>
      opened(
        new DataLoader({
          ...common,
          dataset: data.val,
          pipeline: evaluationPipeline({ ...evaluation, imageSize }),
          batchSize,
          shuffle: false,
          dropLast: false,
        }),
      ),
    close: () => workers.close(),
  };
}
