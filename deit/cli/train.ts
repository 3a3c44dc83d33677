import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DeitError } from '../../engine/index.ts';
import { packageVersion } from '../../engine/node.ts';
import { assetPath } from '../data/node/index.ts';
import { nestRecipe, parseAssignment, parseRecipe, resolveRecipe } from '../recipe/resolve.ts';
import type { Overrides } from '../recipe/resolve.ts';
import { settings } from '../recipe/settings.ts';
import type { Recipe } from '../recipe/settings.ts';
import { examineRun } from '../report/node/examiner.ts';
import { writeReport } from '../report/node/run-files.ts';
import { quoted } from '../report/shell.ts';
import type { Accuracy } from '../train/evaluate.ts';
import type { StepProgress } from '../train/train-steps.ts';
import { withAbsolutePaths } from '../train/node/paths.ts';
import { outliveDevices } from '../train/node/recovery.ts';
import { RunFolder } from '../train/node/run-folder.ts';
import { Interrupted } from '../train/node/train-model.ts';
import type { Reporter } from '../train/node/train-model.ts';
import { trainRecipe } from '../train/node/training-run.ts';
import type { TrainResult, TrainedRun } from '../train/node/training-run.ts';
import { microBatch } from '../train/setup.ts';
import type { Role } from '../train/setup.ts';
import { Progress, formatDuration, percent } from './progress.ts';
import { shippedRecipes } from './recipes.ts';
import { dependencyVersion, parseNumber, withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';
import { onSignals } from './signals.ts';
import { outliveReaders } from './streams.ts';
import { styled } from './style.ts';

export interface TrainOptions extends GlobalOptions {
  recipe: string;
  set: string[];
  data?: string;
  epochs?: string;
  steps?: string;
  minutes?: string;
  seed?: string;
  output?: string;
  resume?: string;
  /** Settings between the recipe's and those of --set. */
  defaults?: Overrides;
}

/** `deit train`. */
export async function train(options: TrainOptions): Promise<void> {
  const { name, recipe, folder, resume } = await openRun(options);
  const stop = new AbortController();
  const caught = onSignals(stop);
  outliveReaders();
  try {
    // Before the adapter is opened, which takes a while.
    const tell = (line: string): void => void process.stderr.write(`${line}\n`);
    tell(`recipe: ${name} (all settings in ${folder.file('config.json')})`);
    for (const [section, values] of Object.entries(nestRecipe(recipe, true))) {
      const shown = Object.entries(values).map(([key, value]) => `${key}=${String(value)}`);
      tell(`  ${section}: ${shown.join('  ')}`);
    }
    const { signal } = stop;
    const result = await outliveDevices(folder.path, tell, resume, (resuming) =>
      withEngine({ ...options, seed: recipe['run.seed'] }, async (engine, say) => {
        await folder.writeJson('adapter.json', engine.adapter);
        const reporter = new ConsoleReporter(say);
        const afterTraining = async (run: TrainedRun): Promise<void> =>
          folder.writeJson('analysis.json', await examineRun(engine, run, microBatch(recipe)));
        return trainRecipe(engine, { recipe, folder, reporter, resume: resuming, signal, afterTraining });
      }),
    );
    tell(`report: ${await writeReport(folder.path)}`);
    summarize(result, tell);
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    await writeReport(folder.path);
    process.stderr.write(`${error.message}; go on with: deit train --resume ${quoted(folder.path)}\n`);
    process.exitCode = caught.exitCode;
  } finally {
    caught.release();
    folder.close();
  }
}

/** The recipe and the folder: of a new run, or of the one to go on with. */
async function openRun(options: TrainOptions) {
  const resumed = options.resume === 'auto' ? options.output : options.resume;
  if (options.resume === 'auto' && resumed === undefined) {
    throw new DeitError('bad-config', '--resume auto needs to know the run folder.', { fix: 'add --output FOLDER' });
  }
  if (resumed !== undefined && (options.resume !== 'auto' || existsSync(join(resumed, 'config.json')))) {
    if (options.resume !== 'auto' && options.set.length > 0) {
      throw new DeitError('bad-config', 'A resumed run keeps its recipe.', { found: `--set ${options.set.join(' ')}` });
    }
    const folder = RunFolder.open(resumed);
    const config = folder.file('config.json');
    const { name, recipe } = JSON.parse(await readFile(config, 'utf8')) as { name: string; recipe: object };
    return { name, recipe: resolveRecipe(parseRecipe(JSON.stringify(recipe), config)), folder, resume: true };
  }
  const { name, overrides } = await readRecipe(options.recipe);
  const recipe = withAbsolutePaths(
    resolveRecipe(overrides, options.defaults ?? {}, ...options.set.map(parseAssignment), shortcuts(options)),
  );
  const folder = RunFolder.create(name, options.output);
  const versions = {
    node: process.versions.node,
    webgpu: dependencyVersion('webgpu'),
    system: `${process.platform} ${process.arch}`,
  };
  const config = {
    version: packageVersion(),
    versions,
    command: process.argv.slice(2),
    name,
    recipe: nestRecipe(recipe),
  };
  await folder.writeJson('config.json', config);
  return { name, recipe, folder, resume: false };
}

/** The recipe that the options describe. */
export async function recipeOf(options: TrainOptions): Promise<{ name: string; recipe: Recipe }> {
  const { name, overrides } = await readRecipe(options.recipe);
  return { name, recipe: resolveRecipe(overrides, ...options.set.map(parseAssignment), shortcuts(options)) };
}

async function readRecipe(nameOrFile: string): Promise<{ name: string; overrides: Overrides }> {
  const shipped = shippedRecipes();
  if (shipped.includes(nameOrFile)) {
    const file = assetPath('recipes', `${nameOrFile}.json`);
    return { name: nameOrFile, overrides: parseRecipe(await readFile(file, 'utf8'), file) };
  }
  if (!existsSync(nameOrFile)) {
    throw new DeitError('unknown-name', 'There is no recipe of this name, nor a file.', {
      found: nameOrFile,
      expected: `a file, or one of ${shipped.join(', ')}`,
    });
  }
  const text = await readFile(nameOrFile, 'utf8').catch((cause: Error) => {
    throw new DeitError('file-unreadable', 'The recipe cannot be read.', {
      where: nameOrFile,
      expected: `a file, or one of ${shipped.join(', ')}`,
      found: cause.message,
      cause,
    });
  });
  return { name: basename(nameOrFile).replace(/\.jsonc?$/, ''), overrides: parseRecipe(text, nameOrFile) };
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

class ConsoleReporter implements Reporter {
  private bar: Progress | null = null;

  constructor(readonly say: (line: string) => void) {}

  begin(role: Role, steps: number, firstStep: number): void {
    this.bar = new Progress(role.padEnd(7), steps, firstStep);
  }

  step(_role: Role, progress: StepProgress): void {
    const { step, steps, epoch, imagesPerSecond, secondsLeft } = progress;
    const losses = [progress.lossLabel, progress.lossDistillation].filter((loss) => loss !== null);
    const right = [progress.accuracy, progress.accuracyDistillation].filter((share) => share !== null);
    const text = [
      `epoch ${epoch + 1}`,
      `${imagesPerSecond.toFixed(1)} images/s`,
      `loss ${losses.map((loss) => loss.toFixed(3)).join(' + ')}`,
      `accuracy ${right.map(percent).join(', ')}`,
      `${formatDuration(secondsLeft)} left`,
    ];
    this.bar?.setTotal(steps);
    this.bar?.update(step, text.join('  '));
  }

  evaluated(role: Role, step: number, accuracy: Accuracy): void {
    this.say(
      `${role}: after step ${step}, held-out accuracy ${percent(accuracy.average)}, loss ${accuracy.loss.toFixed(3)}`,
    );
  }

  end(role: Role, accuracy: Accuracy, ema: Accuracy | null): void {
    this.bar?.stop();
    this.bar = null;
    const heads = [`class ${percent(accuracy.class)}`];
    if (accuracy.distillation !== null) {
      heads.push(`distillation ${percent(accuracy.distillation)}`, `average ${percent(accuracy.average)}`);
    }
    if (ema) heads.push(`moving average of the weights ${percent(ema.average)}`);
    this.say(`${role}: held-out accuracy on ${accuracy.images} images: ${heads.join(', ')}`);
  }
}

function summarize(
  { accuracy, ema, steps, seconds, imagesPerSecond, dataWait, runFolder }: TrainResult,
  say: (line: string) => void,
): void {
  const rows: [string, number | null][] = [
    ['teacher', accuracy.teacher],
    ['class head', accuracy.class],
    ['distillation head', accuracy.distillation],
    ['average of both', accuracy.distillation === null ? null : accuracy.average],
    ['moving average', ema?.average ?? null],
  ];
  say(styled('bold', '\nheld-out accuracy'));
  for (const [name, share] of rows) {
    if (share !== null) say(`  ${name.padEnd(18)} ${styled('green', percent(share).padStart(7))}`);
  }
  say(
    `${steps} student steps at ${imagesPerSecond.toFixed(1)} images/s, ${percent(dataWait)} of the time waiting for data`,
  );
  say(`${formatDuration(seconds)} in all; everything is in ${runFolder}`);
}
