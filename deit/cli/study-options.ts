/** What `deit study` is asked to run, from its options. */
import { existsSync } from 'node:fs';
import { DeitError, nearestName } from '../../engine/index.ts';
import type { Recipe } from '../recipe/settings.ts';
import type { Entry, Study } from '../study/definition.ts';
import type { StudyOptions } from '../study/node/plan.ts';
import { modelNames } from '../models/registry.ts';
import { openCheckpoint } from '../train/node/checkpoint.ts';
import { recipeOf } from './recipe-options.ts';
import type { TrainOptions } from './recipe-options.ts';
import { parseNumber } from './session.ts';

export interface StudyCommandOptions extends Omit<TrainOptions, 'resume'> {
  list?: boolean;
  dryRun?: boolean;
  seeds?: string;
  students?: string;
  teachers?: string;
  rows?: string;
  /** A study folder, or true: that of --output. */
  resume?: string | true;
  /** Go on with teachers that are no better than their students. */
  weakTeachers?: boolean;
}

const DEFAULT_SEEDS = '0,1,2';

/** All that is wrong is said at once. */
export async function studyOptions(study: Study, options: StudyCommandOptions): Promise<StudyOptions> {
  const { recipe: base } = await recipeOf({ ...options, data: undefined, resume: undefined, recipe: options.recipe ?? study.recipe, defaults: study.settings }); // prettier-ignore
  const problems: string[] = [];
  const tried = <Value>(work: () => Value, otherwise: Value): Value => {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof DeitError)) throw error;
      problems.push([error.message, error.details.found].filter(Boolean).join(' '));
      return otherwise;
    }
  };
  const rows = options.rows === undefined ? null : named(options.rows, '--rows', tried);
  for (const row of rows ?? []) {
    const names = study.rows.map(({ name }) => name);
    if (names.includes(row)) continue;
    const near = nearestName(row, names);
    problems.push(`there is no row "${row}" (${near ? `did you mean "${near}"? ` : ''}there are: ${names.join('; ')})`);
  }
  const chosen: StudyOptions = {
    base,
    seeds: tried(() => parseSeeds(options.seeds ?? DEFAULT_SEEDS), []),
    students: entries('--students', options.students, study.students, base['model.name'], tried),
    teachers: await withModels(entries('--teachers', options.teachers, study.teachers, teacherOf(base), tried)),
    data: entries('--data', options.data, study.data, base['data.path'], tried),
    rows,
  };
  for (const { value } of chosen.teachers) {
    if (isModel(value) || value === 'shipped' || value.includes(':') || existsSync(value)) continue;
    const near = nearestName(value, modelNames());
    problems.push(`the teacher "${value}" is neither a model nor a file${near ? ` (did you mean ${near}?)` : ''}`);
  }
  if (problems.length > 0) {
    throw new DeitError('bad-config', 'The study cannot be run as asked.', { found: problems.join('; ') });
  }
  return chosen;
}

type Tried = <Value>(work: () => Value, otherwise: Value) => Value;

const isModel = (value: string): boolean => modelNames().includes(value.split(/\s/)[0]);

/** With the models of weights that name theirs: the recipe's own is of other weights. */
function withModels(teachers: readonly Entry[]): Promise<Entry[]> {
  return Promise.all(
    teachers.map(async (entry) => {
      if (isModel(entry.value) || !(entry.value === 'shipped' || existsSync(entry.value))) return entry;
      const model = (await openCheckpoint(entry.value)).card?.model;
      return model ? { ...entry, model } : entry;
    }),
  );
}

const teacherOf = (base: Recipe): string | null => base['teacher.weights'] ?? base['teacher.model'];

function parseSeeds(text: string): number[] {
  const seeds = text.split(',').map((one) => parseNumber(one, '--seeds', { least: 0, most: 2 ** 32 - 1, whole: true }));
  if (new Set(seeds).size === seeds.length) return seeds;
  throw new DeitError('bad-config', 'The same seed twice says nothing new.', { found: text });
}

function named(text: string, option: string, tried: Tried): string[] {
  const names = text.split(',').map((one) => one.trim());
  const empty = (): never => {
    throw new DeitError('bad-config', `${option} takes names with commas between them.`, { found: `"${text}"` });
  };
  return names.includes('') || new Set(names).size < names.length ? tried<string[]>(empty, []) : names;
}

/** Those of the option, else those of the study, else that of the recipe. */
function entries(
  option: string,
  text: string | undefined,
  own: readonly Entry[] | null,
  ofRecipe: string | null,
  tried: Tried,
): readonly Entry[] {
  if (text === undefined && own) return own;
  const values = text === undefined ? (ofRecipe === null ? [] : [ofRecipe]) : named(text, option, tried);
  const short = (value: string): string => (option === '--data' ? (value.split(/[\\/]/).filter(Boolean).at(-1) ?? value) : value); // prettier-ignore
  return values.map((value) => ({ name: short(value), value, weak: false }));
}
