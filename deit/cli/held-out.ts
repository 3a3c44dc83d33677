/** Which images a model is measured on: those that its training held out, as far as that is known. */
import { existsSync, realpathSync } from 'node:fs';
import { DeitError } from '../../engine/index.ts';
import { sampleName } from '../data/node/index.ts';
import { resolveRecipe } from '../recipe/resolve.ts';
import type { Recipe } from '../recipe/settings.ts';
import { DataListing } from '../train/node/data-listing.ts';
import { openTrainingData } from '../train/node/sources.ts';
import type { HeldOut, ModelCard } from '../weights/model-card.ts';
import { absolutePath } from '../train/node/paths.ts';
import { parseNumber } from './session.ts';

/** Options of a command that measures a model. What is not given is as it was in the training. */
export interface HeldOutOptions {
  data?: string;
  valFraction?: string;
  seed?: string;
  valList?: string;
}

export interface Measured {
  /** The data settings; all else is as by default. */
  readonly recipe: Recipe;
  /** Whether data without held-out images of its own is divided as in the training, or by the options; else it is measured whole. */
  readonly isDivided: boolean;
  /** Says which images are measured on, given how the data was divided. Throws `bad-config` where it cannot be known. */
  describe(split: HeldOut['split']): string;
  facts(split: HeldOut['split']): HeldOut;
}

/** What to measure a model on, from its card and the options. Throws `bad-config` where no data is named. */
export async function heldOutImages(card: ModelCard | null, options: HeldOutOptions): Promise<Measured> {
  const path = options.data ?? card?.data;
  if (path === undefined || (options.data === undefined && !isThere(path))) {
    throw new DeitError('bad-config', 'There is no data to measure the model on.', {
      where: '--data',
      expected: 'a folder of images by class, CIFAR binaries or a list file',
      found: path === undefined ? 'none, and the weights do not say what they were trained on' : `no ${path}`,
      fix: path === undefined ? 'add --data PATH' : 'if the data was moved, say where it is now: --data PATH',
    });
  }
  const isOwn = card !== null && (sameData(path, card.data) || (await isMoved(card, path, options)));
  const trained = isOwn ? card.heldOut : undefined;
  const fraction = options.valFraction === undefined ? trained?.fraction : parseNumber(options.valFraction, '--val-fraction'); // prettier-ignore
  const seed = options.seed === undefined ? trained?.seed : parseNumber(options.seed, '--seed');
  const list = options.valList ?? trained?.list ?? null;
  const recipe = dataRecipe(path, trained, options);
  const isAsTrained =
    trained &&
    fraction === trained.fraction &&
    seed === trained.seed &&
    list === (trained.list ?? list) &&
    recipe['data.folds'] === (trained.folds ?? null);
  return {
    recipe,
    isDivided: isOwn || options.valFraction !== undefined || options.seed !== undefined,
    facts: (split) => ({
      split,
      fraction: recipe['data.valFraction'],
      seed: recipe['run.seed'],
      list,
      ...foldsOf(recipe),
    }),
    describe(split) {
      if (split === 'given') return list === null ? "held out: the data's own held-out images" : `held out: ${list}`;
      const folds = recipe['data.folds'];
      const part = folds === null ? `${recipe['data.valFraction']}` : `fold ${recipe['data.fold']} of ${folds}`;
      const how = `${part} of every class, drawn by seed ${recipe['run.seed']}`;
      if (isAsTrained) return `held out: ${how}, as in the training`;
      if (isOwn && (fraction === undefined || seed === undefined)) throw unknownSplit(path);
      return isOwn && trained
        ? `held out: ${how}, not as in the training: images that it was trained on are among them`
        : `held out: ${how}`;
    },
  };
}

const unknownSplit = (path: string): DeitError =>
  new DeitError('bad-config', 'The weights do not say which of these images their training held out.', {
    where: path,
    found: 'a model saved by an earlier version, and data that has no held-out images of its own',
    fix: 'say how they were drawn: --val-fraction X --seed N (data.valFraction and run.seed in the config.json of the run)',
  });

const isThere = (data: string): boolean => data === sampleName || existsSync(data);

/** The settings by which data at `path` is read: as the options say, else as in a training. */
function dataRecipe(path: string, trained: HeldOut | undefined, options: HeldOutOptions): Recipe {
  const fraction = options.valFraction === undefined ? trained?.fraction : parseNumber(options.valFraction, '--val-fraction'); // prettier-ignore
  const seed = options.seed === undefined ? trained?.seed : parseNumber(options.seed, '--seed');
  return resolveRecipe({
    'data.path': path,
    'data.valPath': options.valList ?? trained?.list ?? null,
    ...(fraction === undefined ? {} : { 'data.valFraction': fraction }),
    ...(seed === undefined ? {} : { 'run.seed': seed }),
    ...(options.valFraction === undefined && trained?.folds !== undefined
      ? { 'data.folds': trained.folds, 'data.fold': trained.fold ?? 1 }
      : {}),
    ...(trained?.root === undefined ? {} : { 'data.root': trained.root }),
  });
}

function foldsOf(recipe: Recipe): Pick<HeldOut, 'folds' | 'fold'> {
  const folds = recipe['data.folds'];
  return folds === null ? {} : { folds, fold: recipe['data.fold'] };
}

/** Whether data at another path is that of the training: read as there, it has the same images. */
async function isMoved({ heldOut }: ModelCard, path: string, { valList }: HeldOutOptions): Promise<boolean> {
  if (heldOut?.listing === undefined) return false;
  try {
    const { train, val: validation } = await openTrainingData(dataRecipe(path, heldOut, { valList }));
    return (await DataListing.of({ train, validation })).sha256 === heldOut.listing;
  } catch (error) {
    // Data that the training could not have had; whoever measures on it is told what is wrong with it, if anything.
    if (error instanceof DeitError) return false;
    throw error;
  }
}

/** Whether two paths lead to the same data set. */
function sameData(a: string, b: string): boolean {
  const real = (path: string): string =>
    path !== sampleName && existsSync(path) ? realpathSync(path) : absolutePath(path);
  return real(a) === real(b);
}
