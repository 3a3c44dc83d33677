import type { Communicator } from '../parallel/communicator.ts';
import { nestRecipe } from '../recipe/resolve.ts';
import type { Recipe } from '../recipe/settings.ts';
import { examineRun } from '../report/node/examiner.ts';
import { writeReport } from '../report/node/run-files.ts';
import { quoted } from '../shell.ts';
import type { Accuracy } from '../train/tally.ts';
import type { StepProgress } from '../train/train-steps.ts';
import { MODEL_FILES } from '../train/node/find-weights.ts';
import { outliveDevices } from '../train/node/recovery.ts';
import { Interrupted } from '../train/node/train-model.ts';
import type { Reporter } from '../train/node/train-model.ts';
import { trainRecipe } from '../train/node/training-run.ts';
import type { TrainResult, TrainedRun } from '../train/node/training-run.ts';
import { microBatch } from '../train/setup.ts';
import type { Role } from '../train/setup.ts';
import { openRunOver } from './open-run.ts';
import { Progress, formatDuration, percent, tell as tellTerminal } from './progress.ts';
import { cardOf, findCards } from '../parallel/node/cards.ts';
import { describeTimes } from '../parallel/rank-times.ts';
import { bindingAdvice, onRanks } from './ranks.ts';
import type { TrainOptions } from './recipe-options.ts';
import { withEngine } from './session.ts';
import { onSignals } from './signals.ts';
import { outliveReaders } from './streams.ts';
import { styled } from './style.ts';

/** `deit train`, on every rank where there are several. */
export const train = (options: TrainOptions): Promise<void> =>
  onRanks(options.processes, (ranks) => trainOn(ranks, options));

async function trainOn(ranks: Communicator, options: TrainOptions): Promise<void> {
  // Rank 0 speaks for all.
  const quiet = ranks.rank > 0;
  const tell = quiet ? (): void => undefined : tellTerminal;
  const opened = await openRunOver(ranks, options);
  if ('finished' in opened) {
    tell(`this run is finished, and is left as it is: deit report ${quoted(opened.finished.runFolder)} shows it`);
    return quiet ? undefined : conclude(opened.finished, options, tell);
  }
  const { name, recipe, folder, resume, moved } = opened;
  const { allowChangedData } = options;
  const stop = new AbortController();
  const caught = onSignals(stop, { quiet: ranks.size > 1 });
  outliveReaders();
  try {
    // Before the adapter is opened, which takes a while.
    tell(`recipe: ${name} (all settings in ${folder.file('config.json')})`);
    for (const [section, values] of Object.entries(nestRecipe(recipe, true))) {
      const shown = Object.entries(values).map(([key, value]) => `${key}=${String(value)}`);
      tell(`  ${section}: ${shown.join('  ')}`);
    }
    if (ranks.size > 1) tell(describeRanks(ranks, recipe));
    const advice = bindingAdvice(ranks);
    if (advice) tell(advice);
    const card = ranks.size > 1 ? cardOf(ranks.localRank, findCards()) : null;
    // Read where the adapters are first looked for.
    if (card) process.env.DRI_PRIME = card;
    const { signal } = stop;
    const session = { ...options, seed: recipe['run.seed'], quiet };
    const trainOnce = (resuming: boolean): Promise<TrainResult> =>
      withEngine(session, async (engine, say) => {
        const reporter = quiet ? SILENT : new ConsoleReporter(say);
        const afterTraining = async (run: TrainedRun): Promise<void> =>
          folder.writeJson('analysis.json', await examineRun(engine, run, microBatch(recipe)));
        return trainRecipe(engine, { recipe, ranks, folder, reporter, resume: resuming, allowChangedData, moved, signal, afterTraining }); // prettier-ignore
      });
    // Of several ranks, one that has lost its device ends all: they go on together with --resume.
    const result =
      ranks.size > 1 ? await trainOnce(resume) : await outliveDevices(folder.path, tell, resume, trainOnce);
    if (quiet) return;
    tell(`report: ${await writeReport(folder.path)}`);
    conclude(result, options, tell);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    if (!quiet) await writeReport(folder.path);
    tell(`${error.message}; go on with: deit train --resume ${quoted(folder.path)}`);
    // Not every rank has got the signal.
    const exitCode = Float64Array.of(caught.exitCode);
    await ranks.max(exitCode);
    [process.exitCode] = exitCode;
  } finally {
    // Other ranks wait for rank 0 to write its report: a signal that a launcher passes on must not end them meanwhile.
    if (ranks.size === 1) caught.release();
    folder.close({ removeUnused: true });
  }
}

function describeRanks({ size }: Communicator, recipe: Recipe): string {
  const slices = recipe['data.accumulate'];
  const each = microBatch(recipe);
  return `ranks: ${size}, each computes ${slices / size} of the ${slices} slices of ${each} images that make a step`;
}

const nothing = (): void => undefined;
/** Of the ranks that do not speak. */
const SILENT: Reporter = { say: nothing, begin: nothing, step: nothing, evaluated: nothing, end: nothing };

class ConsoleReporter implements Reporter {
  private bar: Progress | null = null;

  constructor(readonly say: (line: string) => void) {}

  begin(role: Role, steps: number, firstStep: number): void {
    this.bar = new Progress(role.padEnd(7), steps, firstStep, 'compiling kernels, then the first step');
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

function conclude(result: TrainResult, { json }: TrainOptions, say: (line: string) => void): void {
  summarize(result, say);
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
}

function summarize(
  { accuracy, ema, best, steps, seconds, imagesPerSecond, dataWait, ranks, runFolder }: TrainResult,
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
  if (ranks) say(describeTimes(ranks));
  if (best) say(`best along the way: ${percent(best.accuracy)} after step ${best.step}, in ${MODEL_FILES.best}`);
  say(`${formatDuration(seconds)} in all; everything is in ${runFolder}`);
}
