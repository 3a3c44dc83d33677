import { dirname } from 'node:path';
import { DeitError, formatBytes } from '../../engine/index.ts';
import { detectLaunch } from '../parallel/node/launcher.ts';
import { nestRecipe } from '../recipe/resolve.ts';
import type { Recipe } from '../recipe/settings.ts';
import { terminalTable } from '../report/table-text.ts';
import { quoted } from '../shell.ts';
import { planStudy } from '../study/node/plan.ts';
import type { DataFacts, PlannedRun, StudyOptions, StudyPlan } from '../study/node/plan.ts';
import { openStudy, shippedStudies } from '../study/node/studies.ts';
import { checkRuns, costOf } from '../study/node/study-check.ts';
import { openStudyData } from '../study/node/study-data.ts';
import { StudyFolder } from '../study/node/study-folder.ts';
import type { BegunStudy } from '../study/node/study-folder.ts';
import { stepsOf, studyFacts } from '../study/facts.ts';
import { claimTable, intervalNote, resultTable } from '../study/tables.ts';
import { absolutePath } from '../train/node/paths.ts';
import { Interrupted } from '../train/node/train-model.ts';
import { measureTraining } from '../train/measure.ts';
import type { TrainingTimes } from '../train/measure.ts';
import { StudyRuns } from './study-runs.ts';
import { studyOptions } from './study-options.ts';
import type { StudyCommandOptions } from './study-options.ts';
import { formatDuration, tell } from './progress.ts';
import { withEngine } from './session.ts';
import { onSignals } from './signals.ts';
import { outliveReaders } from './streams.ts';

/** Where studies go, beside each other, so that they share runs. */
const DEFAULT_OUTPUT = 'studies';

/** `deit study`: the runs of a study, and what they show. */
export async function study(nameOrFile: string | undefined, options: StudyCommandOptions): Promise<void> {
  if (options.list) return list(options);
  if ((detectLaunch()?.size ?? 1) > 1) {
    throw new DeitError('bad-config', 'A study runs in one process; its runs cannot be spread over ranks yet.', {
      fix: 'start `deit study` without mpirun or srun; single runs take `deit train --processes`',
    });
  }
  const { folder, begun: asked } = await openOrBegin(nameOrFile, options);
  const data = await openStudyData(asked.options.data, asked.options.base);
  const factsOf = (path: string): DataFacts =>
    data.get(path) ?? [...data].find(([own]) => absolutePath(own) === path)![1];
  const ofRecipe = (recipe: Recipe): DataFacts => factsOf(recipe['data.path']);
  const { begun, plan } = await withEngine({ ...options, seed: 0 }, async (engine) => {
    const measured = new Map<string, TrainingTimes>();
    const timesOf = async (recipe: Recipe): Promise<TrainingTimes> => {
      const cost = costOf(recipe);
      const known = measured.get(cost) ?? (await measureTraining(engine, recipe, ofRecipe(recipe).classes.length));
      measured.set(cost, known);
      return known;
    };
    const isTimed = asked.options.base['schedule.minutes'] !== null;
    const provisional = planStudy(asked.study, isTimed ? withSteps(asked.options, 1) : asked.options, factsOf);
    const memory = await checkRuns(engine, provisional, ofRecipe);
    const settled = await withoutMinutes(asked.options, provisional, timesOf);
    const whole = { ...asked, options: settled };
    const runs = planStudy(asked.study, settled, factsOf);
    if (options.dryRun) await printEstimate(whole, runs, { factsOf, ofRecipe, timesOf, folder, memory, json: options.json ?? false }); // prettier-ignore
    return { begun: whole, plan: runs };
  });
  if (options.dryRun) return;
  await runStudy(folder, begun, plan, factsOf, options);
}

async function list({ json }: StudyCommandOptions): Promise<void> {
  const studies = await Promise.all(shippedStudies().map(openStudy));
  if (json) {
    process.stdout.write(`${JSON.stringify(studies.map(({ name, study: one }) => ({ name, ...one })))}\n`);
    return;
  }
  const width = Math.max(...studies.map(({ name }) => name.length));
  for (const { name, study: one } of studies) {
    process.stdout.write(`${name.padEnd(width)}  ${one.about} (${one.source})\n`);
    for (const row of one.rows) process.stdout.write(`${' '.repeat(width)}    ${row.name}\n`);
  }
}

/** The study that is asked for, or the one that is gone on with, as it was begun. */
async function openOrBegin(
  nameOrFile: string | undefined,
  options: StudyCommandOptions,
): Promise<{ folder: StudyFolder; begun: BegunStudy }> {
  if (typeof options.resume === 'string') {
    const folder = new StudyFolder(options.resume);
    const begun = await folder.read();
    if (nameOrFile !== undefined) await expectSame(begun, nameOrFile, options);
    return { folder, begun: { ...begun, weakTeachers: begun.weakTeachers || !!options.weakTeachers } };
  }
  if (nameOrFile === undefined) {
    throw new DeitError('bad-config', 'Which study?', {
      expected: `one of ${shippedStudies().join(', ')}, or a file`,
      fix: '`deit study --list` shows what they run',
    });
  }
  const { name, study: own } = await openStudy(nameOrFile);
  const folder = StudyFolder.of(options.output ?? DEFAULT_OUTPUT, name);
  if (options.resume && folder.isBegun) {
    const begun = await folder.read();
    await expectSame(begun, nameOrFile, options);
    return { folder, begun: { ...begun, weakTeachers: begun.weakTeachers || !!options.weakTeachers } };
  }
  const chosen = await studyOptions(own, options);
  if (!options.dryRun && folder.isBegun) folder.create();
  return {
    folder,
    begun: { name, study: own, options: chosen, weakTeachers: !!options.weakTeachers, command: process.argv.slice(2) },
  };
}

/** A study that is gone on with keeps what it was begun with. */
async function expectSame(
  { study: own, options: begun }: BegunStudy,
  nameOrFile: string,
  options: StudyCommandOptions,
) {
  const { study: named } = await openStudy(nameOrFile);
  const isSaid = ['recipe', 'data', 'students', 'teachers', 'seeds', 'rows', 'epochs', 'steps', 'minutes'].some((key) => options[key as keyof StudyCommandOptions] !== undefined) || options.set.length > 0; // prettier-ignore
  const asked = isSaid ? await studyOptions(named, options) : begun;
  // Minutes were made steps when it was begun.
  const base = asked.base['schedule.minutes'] === null ? asked.base : { ...asked.base, 'schedule.minutes': null, 'schedule.steps': begun.base['schedule.steps'] }; // prettier-ignore
  const differing = [
    ...(JSON.stringify(own) === JSON.stringify(named) ? [] : ['the study itself']),
    ...(['seeds', 'students', 'teachers', 'data', 'rows'] as const).filter((key) => JSON.stringify(asked[key]) !== JSON.stringify(begun[key])), // prettier-ignore
    ...(JSON.stringify(nestRecipe(base)) === JSON.stringify(nestRecipe(begun.base)) ? [] : ['the recipe']),
  ];
  if (differing.length === 0) return;
  throw new DeitError('bad-config', 'A study that is gone on with keeps what it was begun with.', {
    found: `other than begun: ${differing.join(', ')}`,
    fix: 'give --resume FOLDER alone, or begin another study with another --output',
  });
}

const withSteps = (options: StudyOptions, steps: number): StudyOptions => ({
  ...options,
  base: { ...options.base, 'schedule.minutes': null, 'schedule.steps': steps },
});

/** A time limit as a number of steps, the same in all runs: as many as the slowest student makes in it. */
async function withoutMinutes(
  options: StudyOptions,
  { runs }: StudyPlan,
  timesOf: (recipe: Recipe) => Promise<TrainingTimes>,
): Promise<StudyOptions> {
  const minutes = options.base['schedule.minutes'];
  if (minutes === null) return options;
  tell(`timing a few steps, to fit the runs into ${minutes} minutes each`);
  let slowest = 0;
  for (const { role, recipe } of runs) {
    if (role === 'student') slowest = Math.max(slowest, (await timesOf(recipe)).secondsPerStep);
  }
  return withSteps(options, Math.max(1, Math.floor((60 * minutes) / slowest)));
}

interface Estimating {
  readonly factsOf: (path: string) => DataFacts;
  readonly ofRecipe: (recipe: Recipe) => DataFacts;
  readonly timesOf: (recipe: Recipe) => Promise<TrainingTimes>;
  readonly memory: ReadonlyMap<string, number>;
  readonly folder: StudyFolder;
  readonly json: boolean;
}

/** What a study would run, and how long that takes here. */
async function printEstimate(begun: BegunStudy, plan: StudyPlan, estimating: Estimating): Promise<void> {
  const { factsOf, ofRecipe, timesOf, folder, memory, json } = estimating;
  const planned: { run: PlannedRun; steps: number; memory: number; seconds: number; isDone: boolean }[] = [];
  for (const run of plan.runs) {
    const facts = ofRecipe(run.recipe);
    const steps = stepsOf(run, facts);
    const { secondsPerStep, secondsPerImage } = await timesOf(run.recipe);
    const evaluations = 2 + (run.recipe['run.evaluateEvery'] > 0 ? steps / (run.recipe['run.evaluateEvery'] * facts.stepsPerEpoch(run.recipe)) : 0); // prettier-ignore
    const seconds = steps * secondsPerStep + evaluations * facts.heldOut * secondsPerImage;
    const bytes = memory.get(costOf(run.recipe)) ?? 0;
    planned.push({ run, steps, memory: bytes, seconds, isDone: (await folder.finished(run)) !== null });
  }
  const left = planned.filter(({ isDone }) => !isDone);
  const total = left.reduce((sum, { seconds }) => sum + seconds, 0);
  if (json) {
    const runs = planned.map(({ run, steps, memory: bytes, seconds, isDone }) => ({ key: run.key, label: run.label, seed: run.seed, steps, memory: bytes, seconds, done: isDone })); // prettier-ignore
    process.stdout.write(`${JSON.stringify({ study: begun.name, runs, seconds: total })}\n`);
    return;
  }
  const rows = planned.map(({ run, steps, memory: bytes, seconds, isDone }) => [
    run.label,
    String(run.seed),
    run.recipe['model.name'].split(' ')[0],
    String(steps),
    formatBytes(bytes),
    isDone ? 'done' : formatDuration(seconds),
  ]);
  process.stdout.write(terminalTable({ titles: ['run', 'seed', 'model', 'steps', 'GPU memory', 'time'], rows }));
  for (const fact of studyFacts(begun.study, begun.options, plan, factsOf, null)) process.stdout.write(`${fact}\n`);
  process.stdout.write(`${planned.length} runs, ${planned.length - left.length} of them done; about ${formatDuration(total)} on this adapter, without the reading of data\n`); // prettier-ignore
}

async function runStudy(
  folder: StudyFolder,
  begun: BegunStudy,
  plan: StudyPlan,
  factsOf: (path: string) => DataFacts,
  options: StudyCommandOptions,
): Promise<void> {
  if (!folder.isBegun) folder.create();
  const runs = new StudyRuns(folder, begun, plan, factsOf);
  const found = await runs.look();
  tell(`study: ${begun.name}, ${plan.runs.length} runs, ${found} of them done before (everything is in ${dirname(folder.path)})`); // prettier-ignore
  await runs.write();
  const stop = new AbortController();
  const caught = onSignals(stop);
  outliveReaders();
  try {
    await runs.make(options, stop.signal);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    await runs.write();
    tell(`${error.message}; go on with: deit study --resume ${quoted(folder.path)}`);
    process.exitCode = caught.exitCode;
    return;
  } finally {
    caught.release();
  }
  const page = await runs.write();
  const record = runs.record();
  if (options.json) {
    const { name, facts, adapter, runs: ended, results } = record;
    process.stdout.write(`${JSON.stringify({ study: name, facts, adapter, runs: ended, results, page })}\n`);
  } else {
    process.stdout.write(`\n${terminalTable(resultTable(record))}`);
    if (record.results.claims.length > 0) process.stdout.write(`\n${terminalTable(claimTable(record.results.claims))}`);
  }
  tell(intervalNote(record));
  tell(`page: ${page}`);
  const failed = record.runs.filter(({ state }) => state !== 'done');
  if (failed.length === 0) return;
  tell(`${failed.length} of ${record.runs.length} runs were not made:`);
  for (const { label, seed, state, problem } of failed) tell(`  ${label}, seed ${seed}: ${state}, ${problem ?? ''}`);
  tell(`try them again with: deit study --resume ${quoted(folder.path)}`);
  process.exitCode = 1;
}
