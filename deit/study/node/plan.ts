/** From a study to its runs: the recipe of each, by which runs that two rows or two studies share are known. Node only. */
import { createHash } from 'node:crypto';
import { DeitError } from '../../../engine/node.ts';
import { distilledName } from '../../models/distilled-name.ts';
import { describeModel, modelNames } from '../../models/registry.ts';
import { nestRecipe, resolveRecipe } from '../../recipe/resolve.ts';
import type { Overrides } from '../../recipe/resolve.ts';
import { settingNames, settings } from '../../recipe/settings.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { withAbsolutePaths } from '../../train/node/paths.ts';
import type { Axis, Entry, Head, LineRef, Paper, Row, Study } from '../definition.ts';

/** What a study is run on. */
export interface StudyOptions {
  /** Recipe, study and options, in this order; its minutes are steps by now. */
  readonly base: Recipe;
  readonly seeds: readonly number[];
  readonly students: readonly Entry[];
  /** Empty where the study has no teacher. */
  readonly teachers: readonly Entry[];
  readonly data: readonly Entry[];
  /** Rows to run; null: all. */
  readonly rows: readonly string[] | null;
}

/** What has to be known of data. */
export interface DataFacts {
  readonly classes: readonly string[];
  readonly training: number;
  readonly heldOut: number;
  /** Whether what is held out depends on the seed: then a teacher of another seed has seen it. */
  readonly drawn: boolean;
  /** Optimizer steps of one epoch with a recipe. */
  readonly stepsPerEpoch: (recipe: Recipe) => number;
}

export interface PlannedRun {
  /** Hash of the recipe: runs of the same key are the same. */
  readonly key: string;
  /** What the run is called in folders and tables. */
  readonly label: string;
  readonly role: 'teacher' | 'student';
  readonly seed: number;
  /** Where weights are those of another run, `run:KEY` stands for them. */
  readonly recipe: Recipe;
  readonly teacher: { readonly entry: Entry; readonly key: string | null } | null;
  /** Key of the run whose weights it starts from. */
  readonly from: string | null;
  /** Students that are trained on the same, by which a teacher is judged. */
  readonly group: string;
}

/** One line of the table: a row of the study at one place of every axis, measured by one head. */
export interface Line extends Required<LineRef> {
  readonly name: string;
  /** Key of the run of each seed. */
  readonly runs: readonly { readonly seed: number; readonly key: string }[];
  readonly paper: number | null;
  readonly settings: Recipe;
}

export interface StudyPlan {
  readonly runs: readonly PlannedRun[];
  readonly lines: readonly Line[];
  /** Axes along which lines differ. */
  readonly axes: readonly Axis[];
}

export const RUN = 'run:';

/** Throws `bad-config` with the mistakes of all rows at once. */
export function planStudy(study: Study, options: StudyOptions, facts: (path: string) => DataFacts): StudyPlan {
  return new Planner(study, options, facts).plan();
}

class Planner {
  private readonly runs = new Map<string, PlannedRun>();
  private readonly lines: Line[] = [];
  private readonly problems = new Set<string>();

  constructor(
    private readonly study: Study,
    private readonly options: StudyOptions,
    private readonly facts: (path: string) => DataFacts,
  ) {}

  plan(): StudyPlan {
    const { study, options } = this;
    const { students, data } = options;
    const rows = study.rows.filter(({ name }) => options.rows?.includes(name) ?? true);
    for (const place of data) {
      for (const student of students) {
        for (const length of study.lengths) for (const row of rows) this.addRow(row, { student, data: place, length });
      }
    }
    if (this.problems.size > 0) {
      throw new DeitError('bad-config', 'The study has mistakes.', {
        found: [...this.problems].join('; '),
        fix: '`deit recipes --reference` lists every setting',
      });
    }
    const order = ({ role, from, recipe }: PlannedRun): number =>
      role === 'teacher' ? 0 : from === null && recipe['distillation.type'] === 'none' ? 1 : 2;
    const runs = [...this.runs.values()].sort((a, b) => order(a) - order(b));
    const differs = (axis: Axis): boolean => new Set(this.lines.map((line) => line[axis]).filter(Boolean)).size > 1;
    return { runs, lines: this.lines, axes: (['student', 'teacher', 'data', 'length'] as const).filter(differs) };
  }

  private addRow(row: Row, at: Place): void {
    try {
      const isTaught = this.settingsOf(row)['distillation.type'] !== 'none';
      if (isTaught && this.options.teachers.length === 0) {
        throw new DeitError('bad-config', 'Distillation needs a teacher: name one with --teachers.');
      }
      for (const teacher of isTaught ? this.options.teachers : [null]) this.addLines(row, { ...at, teacher });
    } catch (error) {
      if (!(error instanceof DeitError)) throw error;
      this.problems.add(`${row.name}: ${[error.message, error.details.found].filter(Boolean).join(' ')}`);
    }
  }

  private settingsOf(row: Row): Recipe {
    return resolveRecipe(this.options.base, row.settings);
  }

  private addLines(row: Row, at: Place & { teacher: Entry | null }): void {
    const runs = this.options.seeds.map((seed) => this.run(row, at, seed));
    const labels = {
      student: at.student.name,
      teacher: at.teacher?.name ?? '',
      data: at.data.name,
      length: lengthLabel(runs[0].recipe),
    };
    for (const head of row.heads) {
      const isKnown = head !== 'distillation' || describeModel(runs[0].recipe['model.name']).distilled;
      if (!isKnown) throw new DeitError('bad-config', 'A student without distillation head has no accuracy of it.');
      if (head === 'ema' && runs[0].recipe['optim.ema'] === null)
        throw new DeitError('bad-config', 'Without optim.ema there is no moving average.');
      const family = at.student.value.split(/_(?:distilled_)?patch|\s/)[0];
      const ours = [head, family, at.teacher?.value.split(/\s/)[0] ?? '', ...Object.values(labels)];
      const paper = row.paper === null ? null : paperValue(row.paper, ours);
      const name = row.heads.length > 1 ? `${row.name}: ${HEAD_NAMES[head]}` : row.name;
      const keys = runs.map(({ seed, key }) => ({ seed, key }));
      this.lines.push({ name, row: row.name, head, ...labels, runs: keys, paper, settings: runs[0].recipe });
    }
  }

  private run(row: Row, at: Place & { teacher: Entry | null }, seed: number): PlannedRun {
    const own = this.recipeOf(row, at, seed);
    const teacher = at.teacher && this.teacherRun(at.teacher, own, at);
    const fromRow = row.from === null ? null : this.study.rows.find(({ name }) => name === row.from)!;
    const isTaught = fromRow !== null && this.settingsOf(fromRow)['distillation.type'] !== 'none';
    const from = fromRow && this.run(fromRow, { ...at, teacher: isTaught ? (at.teacher ?? this.options.teachers[0]) : null }, seed); // prettier-ignore
    const recipe: Recipe = {
      ...own,
      ...(from ? { 'model.weights': `${RUN}${from.key}` } : {}),
      ...(teacher ? { 'teacher.model': teacher.model, 'teacher.weights': teacher.weights } : {}),
    };
    return this.add({
      label: row.name,
      role: 'student',
      seed,
      recipe,
      teacher: at.teacher && teacher && { entry: at.teacher, key: teacher.key },
      from: from?.key ?? null,
      group: [at.student.name, at.data.name, at.length, seed].join('\n'),
    });
  }

  private recipeOf(row: Row, { student, data, length }: Place, seed: number): Recipe {
    const { base } = this.options;
    const named = row.token === null ? student.value : distilledName(student.value, row.token);
    const { spec, imageSize } = describeModel(`${named} ${row.model}`);
    const name = row.resolution === 1 ? spec : describeModel(spec, { imageSize: scaled(spec, imageSize, row.resolution) }).spec; // prettier-ignore
    const steps = base['schedule.steps'];
    const recipe = resolveRecipe(base, row.settings, {
      'model.name': name,
      'data.path': data.value,
      'run.seed': seed,
      ...(steps === null
        ? { 'schedule.epochs': base['schedule.epochs'] * length }
        : { 'schedule.steps': Math.max(1, Math.round(steps * length)), 'schedule.epochs': settings['schedule.epochs'].default }), // prettier-ignore
      'schedule.minutes': null,
    });
    return withAbsolutePaths(recipe['distillation.type'] === 'none' ? { ...recipe, ...UNTAUGHT } : recipe);
  }

  /** The run that trains a teacher, of the student's data and augmentation; none where it comes with weights. */
  private teacherRun(entry: Entry, student: Recipe, { data, length }: Place) {
    if (!modelNames().includes(entry.value.split(/\s/)[0])) {
      const weights = withAbsolutePaths({ ...student, 'teacher.weights': entry.value })['teacher.weights'];
      return { key: null, model: entry.model ?? student['teacher.model'], weights };
    }
    const { imageSize } = describeModel(student['model.name']);
    const name = describeModel(entry.value, { imageSize }).spec;
    const { drawn, stepsPerEpoch } = this.facts(data.value);
    const seed = drawn ? student['run.seed'] : this.options.seeds[0];
    const recipe = teacherRecipe({ ...student, 'run.seed': seed }, name, Math.max(...this.study.lengths) / length, stepsPerEpoch); // prettier-ignore
    const label = `teacher ${entry.name}`;
    const run = this.add({ label, role: 'teacher', seed, recipe, teacher: null, from: null, group: '' });
    return { key: run.key, model: name, weights: `${RUN}${run.key}` };
  }

  private add(run: Omit<PlannedRun, 'key'>): PlannedRun {
    const key = createHash('sha256').update(JSON.stringify(nestRecipe(run.recipe))).digest('hex').slice(0, 12); // prettier-ignore
    const known = this.runs.get(key);
    if (known) return known;
    const added = { ...run, key };
    this.runs.set(key, added);
    return added;
  }
}

interface Place {
  readonly student: Entry;
  readonly data: Entry;
  readonly length: number;
}

const HEAD_NAMES: Readonly<Record<Head, string>> = {
  class: 'class head',
  distillation: 'distillation head',
  average: 'both heads',
  ema: 'moving average of the weights',
};

/** Settings that have no effect without a teacher. */
const UNTAUGHT = Object.fromEntries(
  settingNames.filter((name) => /^(teacher|distillation)\./.test(name)).map((name) => [name, settings[name].default]),
) as Overrides as Partial<Recipe>;

const lengthLabel = (recipe: Recipe): string => {
  const steps = recipe['schedule.steps'];
  return steps === null ? `${Number(recipe['schedule.epochs'].toPrecision(6))} epochs` : `${steps} steps`;
};

/** A side near `factor` times the size that is a multiple of the patch. */
function scaled(spec: string, imageSize: number, factor: number): number {
  const patch = Number(/patch_size=(\d+)/.exec(spec)?.[1] ?? /patch(\d+)/.exec(spec)?.[1] ?? 1);
  return Math.max(1, Math.round((imageSize * factor) / patch)) * patch;
}

/** Follows the labels of a line down the paper's values. */
function paperValue(paper: Paper, labels: readonly string[]): number | null {
  if (typeof paper === 'number') return paper;
  const key = Object.keys(paper).find((label) => labels.includes(label));
  return key === undefined ? null : paperValue(paper[key], labels);
}

/**
 * The recipe by which a study trains a teacher of its own: a DeiT as the student without teacher, any other model by SGD as
 * `deit train` trains it (without mixing, linear warmup of a tenth, to 0), for `teacher.share` of the time.
 */
function teacherRecipe(
  student: Recipe,
  name: string,
  length: number,
  stepsPerEpoch: (recipe: Recipe) => number,
): Recipe {
  const share = student['teacher.share'];
  const times = (length * share) / (1 - share);
  const steps = student['schedule.steps'];
  const long = {
    ...student,
    ...UNTAUGHT,
    'model.name': name,
    'model.weights': null,
    'schedule.steps': steps && Math.max(1, Math.round(steps * times)),
    'schedule.epochs': steps ? student['schedule.epochs'] : student['schedule.epochs'] * times,
  };
  if (name.startsWith('deit_')) return long;
  const epochs = long['schedule.steps'] ? long['schedule.steps'] / stepsPerEpoch(long) : long['schedule.epochs'];
  const base = (student['teacher.lr'] * student['data.batchSize']) / 256;
  return {
    ...long,
    'model.dropPath': 0,
    'model.recompute': false,
    'augment.mixup': 0,
    'augment.cutmix': 0,
    'optim.name': 'sgd',
    'optim.momentum': 0.9,
    'optim.lr': base,
    'optim.scaleLr': false,
    'optim.weightDecay': student['teacher.weightDecay'],
    'optim.clip': 5,
    'optim.ema': null,
    'optim.freeze': '',
    'optim.freezeBlocks': 0,
    'optim.headOnly': false,
    'schedule.per': 'step',
    'schedule.warmupEpochs': Math.min(0.1 * epochs, 5),
    'schedule.warmupLr': base / 10,
    'schedule.minLr': 0,
    'run.trainMode': true,
  };
}
