/** The run that `deit train` begins or goes on with. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DeitError } from '../../engine/index.ts';
import { nestRecipe, parseRecipe, resolveRecipe } from '../recipe/resolve.ts';
import { settingNames } from '../recipe/settings.ts';
import type { Recipe, SettingName } from '../recipe/settings.ts';
import { readConfig, readRunFile } from '../train/node/run-files.ts';
import { quoted } from '../shell.ts';
import { resultSchema } from '../train/run-schemas.ts';
import { withAbsolutePaths } from '../train/node/paths.ts';
import { RunFolder } from '../train/node/run-folder.ts';
import { currentVersions } from '../train/node/sessions.ts';
import type { TrainResult } from '../train/node/training-run.ts';
import { recipeOf } from './recipe-options.ts';
import type { TrainOptions } from './recipe-options.ts';

/** A run to train, or one that is finished. Close its folder. */
export type OpenedRun =
  | { readonly name: string; readonly recipe: Recipe; readonly folder: RunFolder; readonly resume: boolean }
  | { readonly finished: TrainResult };

/** The run that the options name. Throws where they ask for something else than what the run was begun with. */
export async function openRun(options: TrainOptions): Promise<OpenedRun> {
  const { resume, output } = options;
  if (resume === undefined) return begin(options);
  if (resume !== 'auto') {
    if (output === undefined || resolve(output) === resolve(resume)) return goOn(resume, options);
    throw new DeitError('bad-config', 'A resumed run stays in its folder.', {
      found: `--resume ${quoted(resume)} --output ${quoted(output)}`,
      fix: 'leave --output out',
    });
  }
  if (output === undefined) {
    throw new DeitError('bad-config', '--resume auto needs to know the run folder.', { fix: 'add --output FOLDER' });
  }
  return existsSync(join(output, 'config.json')) ? goOn(output, options) : begin(options);
}

async function begin(options: TrainOptions): Promise<OpenedRun> {
  const { name, recipe: given } = await recipeOf(options);
  const recipe = withAbsolutePaths(given);
  const folder = RunFolder.create(name, options.output);
  try {
    const { 'deit-webgpu': version, ...versions } = currentVersions();
    const command = process.argv.slice(2);
    await folder.writeJson('config.json', { version, versions, command, name, recipe: nestRecipe(recipe) });
  } catch (error) {
    folder.close({ removeUnused: true });
    throw error;
  }
  return { name, recipe, folder, resume: false };
}

async function goOn(path: string, options: TrainOptions): Promise<OpenedRun> {
  const { name, recipe: nested } = await readConfig(path);
  const recipe = resolveRecipe(parseRecipe(JSON.stringify(nested), join(path, 'config.json')));
  await refuseOther(recipe, path, options);
  const result = await readRunFile(path, 'result.json', resultSchema);
  if (result) return { finished: { ...result, runFolder: path } };
  return { name, recipe, folder: RunFolder.open(path), resume: true };
}

/**
 * A resumed run keeps its recipe: options that ask for another one would be without effect. `--resume auto` is the command
 * that began the run, whole, and a recipe has a value for every setting; else what is not said is as the run has it.
 */
async function refuseOther(run: Recipe, path: string, options: TrainOptions): Promise<void> {
  const { recipe: given, asked } = await recipeOf(options);
  const recipe = withAbsolutePaths(given);
  const names =
    options.resume === 'auto' || options.recipe !== undefined ? settingNames : (Object.keys(asked) as SettingName[]);
  const differing = names.filter((name) => recipe[name] !== run[name]);
  if (differing.length === 0) return;
  const told = differing.map((name) => `${name} is ${JSON.stringify(run[name])}, not ${JSON.stringify(recipe[name])}`);
  throw new DeitError('bad-config', 'A resumed run keeps its recipe, and other settings were asked for.', {
    where: path,
    found: told.join('; '),
    fix: `go on with \`deit train --resume ${quoted(path)}\` alone; or begin another run, in another folder`,
  });
}
