/** The recipe that the options of a command describe. */
import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { DeitError, nearestName } from '../../engine/index.ts';
import { assetPath } from '../data/node/index.ts';
import { parseAssignment, parseRecipe, resolveRecipe } from '../recipe/resolve.ts';
import type { Overrides } from '../recipe/resolve.ts';
import { settings } from '../recipe/settings.ts';
import type { Recipe } from '../recipe/settings.ts';
import { DEFAULT_RECIPE } from './defaults.ts';
import { shippedRecipes } from './recipes.ts';
import { parseNumber } from './session.ts';
import type { GlobalOptions } from './session.ts';

export interface TrainOptions extends GlobalOptions {
  /** Name of a recipe that ships, or a file. */
  recipe?: string;
  set: string[];
  data?: string;
  epochs?: string;
  steps?: string;
  minutes?: string;
  seed?: string;
  output?: string;
  resume?: string;
  /** With `resume`. */
  allowChangedData?: boolean;
  /** How many processes to start. */
  processes?: string;
  /** Settings between the recipe's and those of --set. */
  defaults?: Overrides;
}

/** Name and settings of the recipe, those settings that other options than `--recipe` give, and all that are not defaults. */
export async function recipeOf(
  options: TrainOptions,
): Promise<{ name: string; recipe: Recipe; asked: Overrides; given: Overrides }> {
  const { name, overrides } = await readRecipe(options.recipe ?? DEFAULT_RECIPE);
  const own = [options.defaults ?? {}, ...options.set.map(parseAssignment), shortcuts(options)];
  const recipe = resolveRecipe(overrides, ...own);
  const asked = Object.assign({}, ...own) as Overrides;
  return { name, recipe, asked, given: { ...overrides, ...asked } };
}

async function readRecipe(nameOrFile: string): Promise<{ name: string; overrides: Overrides }> {
  const shipped = shippedRecipes();
  const isShipped = shipped.includes(nameOrFile);
  const file = isShipped ? assetPath('recipes', `${nameOrFile}.json`) : nameOrFile;
  const expected = `a file, or one of ${shipped.join(', ')}`;
  if (!existsSync(file)) {
    const near = nearestName(nameOrFile, shipped);
    throw new DeitError('unknown-name', 'There is no recipe of this name, nor a file.', {
      found: file,
      expected,
      fix: near && `did you mean ${near}?`,
    });
  }
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new DeitError('file-unreadable', 'The recipe cannot be read.', {
      where: file,
      expected,
      found: cause.message,
      cause,
    });
  });
  return { name: basename(file).replace(/\.jsonc?$/, ''), overrides: parseRecipe(text, file) };
}

/** Options that stand for a setting. */
function shortcuts(options: TrainOptions): Overrides {
  const overrides: Record<string, string | number | null> = {};
  if (options.data !== undefined) overrides['data.path'] = options.data;
  if (options.seed !== undefined) overrides['run.seed'] = parseNumber(options.seed, '--seed');
  // A length given by hand replaces the recipe's time limit.
  if (options.epochs !== undefined || options.steps !== undefined)
    overrides['schedule.minutes'] = settings['schedule.minutes'].default;
  if (options.epochs !== undefined) overrides['schedule.epochs'] = parseNumber(options.epochs, '--epochs');
  if (options.steps !== undefined) overrides['schedule.steps'] = parseNumber(options.steps, '--steps');
  if (options.minutes !== undefined) overrides['schedule.minutes'] = parseNumber(options.minutes, '--minutes');
  return overrides;
}
