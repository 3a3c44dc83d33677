/** The run that `deit train` begins or goes on with. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DeitError } from '../../engine/index.ts';
import { expectAgreement } from '../parallel/agreement.ts';
import { shareValue } from '../parallel/communicator.ts';
import type { Communicator } from '../parallel/communicator.ts';
import { shareOf, slicesFor } from '../parallel/slices.ts';
import { nestRecipe, parseRecipe, resolveRecipe } from '../recipe/resolve.ts';
import type { Overrides } from '../recipe/resolve.ts';
import { settingNames } from '../recipe/settings.ts';
import type { Recipe, SettingName } from '../recipe/settings.ts';
import { readConfig, readRunFile } from '../train/node/run-files.ts';
import { quoted } from '../shell.ts';
import { resultSchema } from '../train/run-schemas.ts';
import { mixingOf } from '../train/setup.ts';
import { withAbsolutePaths } from '../train/node/paths.ts';
import type { Moved } from '../train/node/resume.ts';
import { RunFolder } from '../train/node/run-folder.ts';
import { currentVersions } from '../train/node/sessions.ts';
import type { TrainResult } from '../train/node/training-run.ts';
import { recipeOf } from './recipe-options.ts';
import type { TrainOptions } from './recipe-options.ts';

const SLICES = 'data.accumulate' satisfies SettingName;

/** A run to train. Close its folder. */
export interface PendingRun {
  readonly name: string;
  readonly recipe: Recipe;
  readonly folder: RunFolder;
  readonly resume: boolean;
  /** Where the options say that data or weights are elsewhere by now. */
  readonly moved?: Moved | undefined;
}

/** A run to train, or one that is finished. */
export type OpenedRun = PendingRun | { readonly finished: TrainResult };

/** Settings by which a run finds what it is trained on: another place is no other recipe, if the same is there. */
const PLACES = ['data.path', 'data.valPath', 'data.root', 'model.weights', 'teacher.weights'] as const satisfies readonly SettingName[]; // prettier-ignore

/**
 * The same on several ranks: rank 0 has the folder, and the others what is in it. Throws `rank-mismatch` where they were started
 * with other versions or options.
 */
export async function openRunOver(ranks: Communicator, options: TrainOptions): Promise<OpenedRun> {
  const own = ranks.rank === 0;
  if (ranks.size > 1) {
    const { name, recipe } = await recipeOf(options);
    const { output = '(none)', resume = '(none)' } = options;
    await expectAgreement(ranks, {
      ...Object.fromEntries(
        Object.entries(currentVersions()).map(([what, version]) => [`version of ${what}`, version]),
      ),
      ...Object.fromEntries(settingNames.map((setting) => [setting, JSON.stringify(recipe[setting])])),
      ...{ recipe: name, '--output': output, '--resume': resume },
    });
  }
  let failure: Error | null = null;
  const opened = own ? await openRun(options, ranks.size).catch((error: Error) => void (failure = error)) : null;
  const told =
    opened &&
    ('finished' in opened
      ? opened
      : { name: opened.name, recipe: opened.recipe, resume: opened.resume, folder: opened.folder.path });
  const shared = await shareValue(ranks, told ?? null);
  if (opened) return opened;
  // All fail, so that rank 0 alone tells why.
  if (!shared) throw failure ?? new DeitError('rank-failed', 'Rank 0 could not open the run.');
  return 'finished' in shared ? shared : { ...shared, folder: RunFolder.ofOtherRank(shared.folder) };
}

/**
 * The run that the options name, on so many processes. Throws where they ask for something else than what the run was begun
 * with, or its steps cannot be dealt out to that many.
 */
export async function openRun(options: TrainOptions, processes = 1): Promise<OpenedRun> {
  const { resume, output } = options;
  if (resume === undefined) {
    if (!options.allowChangedData) return begin(options, processes);
    throw new DeitError('bad-config', '--allow-changed-data is for a run that goes on.', {
      fix: 'add --resume FOLDER, or leave it out',
    });
  }
  if (resume !== 'auto') {
    if (output === undefined || resolve(output) === resolve(resume)) return goOn(resume, askedBy(options), processes);
    throw new DeitError('bad-config', 'A resumed run stays in its folder.', {
      found: `--resume ${quoted(resume)} --output ${quoted(output)}`,
      fix: 'leave --output out',
    });
  }
  if (output === undefined) {
    throw new DeitError('bad-config', '--resume auto needs to know the run folder.', { fix: 'add --output FOLDER' });
  }
  const isThere = existsSync(join(output, 'config.json'));
  return isThere ? goOn(output, askedBy(options), processes) : begin(options, processes);
}

/** A step has as many slices as the recipe says, or, where it leaves that open, one for each process. */
export function withSlices(recipe: Recipe, given: Overrides, processes: number): Recipe {
  const images = recipe['data.batchSize'];
  const isOpen = !(SLICES in given);
  const slices = isOpen ? slicesFor(processes, images, mixingOf(recipe, 'student') !== null) : recipe[SLICES];
  shareOf({ rank: 0, size: processes }, slices);
  return { ...recipe, [SLICES]: slices };
}

async function begin(options: TrainOptions, processes: number): Promise<OpenedRun> {
  const { name, recipe, given } = await recipeOf(options);
  return beginRun(name, withAbsolutePaths(withSlices(recipe, given, processes)), options.output);
}

/** A new run of a recipe, whose paths are absolute, in a folder that must be empty or absent. */
export async function beginRun(name: string, recipe: Recipe, path: string | undefined): Promise<PendingRun> {
  const folder = RunFolder.create(name, path);
  try {
    const { 'deit-webgpu': version, ...versions } = currentVersions();
    const command = process.argv.slice(2);
    await folder.flushFolders();
    await folder.writeJson('config.json', { version, versions, command, name, recipe: nestRecipe(recipe) });
  } catch (error) {
    folder.close({ removeUnused: true });
    throw error;
  }
  return { name, recipe, folder, resume: false };
}

/** The run of a recipe, whose paths are absolute, in a folder: gone on with where it was begun, on one process. */
export const continueRun = (name: string, recipe: Recipe, path: string): Promise<OpenedRun> =>
  existsSync(join(path, 'config.json')) ? goOn(path, () => recipe, 1) : beginRun(name, recipe, path);

/** `askedOf`: the recipe that is asked for, given the one that the run was begun with. */
async function goOn(
  path: string,
  askedOf: (begun: Recipe) => Promise<Recipe> | Recipe,
  processes: number,
): Promise<OpenedRun> {
  const config = await readConfig(path);
  const { name, recipe: nested } = config;
  const begun = resolveRecipe(parseRecipe(JSON.stringify(nested), join(path, 'config.json')));
  const asked = await askedOf(begun);
  const differing = settingNames.filter((name) => asked[name] !== begun[name]);
  const refusal = differing.length > 0 ? otherRecipe(begun, asked, differing, path) : null;
  const result = await readRunFile(path, 'result.json', resultSchema);
  const isElsewhere = differing.every((name) => (PLACES as readonly string[]).includes(name));
  if (refusal && (result || !isElsewhere)) throw refusal;
  if (result) return { finished: { ...result, runFolder: path } };
  shareOf({ rank: 0, size: processes }, begun[SLICES]);
  const folder = RunFolder.open(path);
  const accept = (): Promise<void> => folder.writeJson('config.json', { ...config, recipe: nestRecipe(asked) });
  return { name, recipe: asked, folder, resume: true, moved: refusal ? { refusal, accept } : undefined };
}

const askedBy = (options: TrainOptions) => (begun: Recipe) => askedRecipe(begun, options);

/**
 * The recipe of a run with what the options ask for. `--resume auto` is the command that began the run, whole, and a recipe
 * has a value for every setting; else what is not said is as the run has it.
 */
async function askedRecipe(begun: Recipe, options: TrainOptions): Promise<Recipe> {
  const { recipe: wanted, asked, given } = await recipeOf(options);
  // What was left open was settled by the number of processes that the run was begun on.
  const recipe = withAbsolutePaths(SLICES in given ? wanted : { ...wanted, [SLICES]: begun[SLICES] });
  if (options.resume === 'auto' || options.recipe !== undefined) return recipe;
  const names = Object.keys(asked) as SettingName[];
  return { ...begun, ...Object.fromEntries(names.map((name) => [name, recipe[name]])) };
}

/** A resumed run keeps its recipe: options that ask for another one would be without effect. */
function otherRecipe(begun: Recipe, asked: Recipe, differing: readonly SettingName[], path: string): DeitError {
  const told = differing.map((name) => `${name} is ${JSON.stringify(begun[name])}, not ${JSON.stringify(asked[name])}`);
  return new DeitError('bad-config', 'A resumed run keeps its recipe, and other settings were asked for.', {
    where: path,
    found: told.join('; '),
    fix: `go on with \`deit train --resume ${quoted(path)}\` alone; or begin another run, in another folder`,
  });
}
