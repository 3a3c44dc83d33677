/** One training from its opened folder to its report: what `deit train` does, and `deit study` run by run. */
import type { Communicator } from '../parallel/communicator.ts';
import { oneProcess } from '../parallel/communicator.ts';
import { examineRun } from '../report/node/examiner.ts';
import { writeReport } from '../report/node/run-files.ts';
import { outliveDevices } from '../train/node/recovery.ts';
import { Interrupted } from '../train/node/train-model.ts';
import type { Reporter } from '../train/node/train-model.ts';
import { trainRecipe } from '../train/node/training-run.ts';
import type { TrainResult, TrainedRun } from '../train/node/training-run.ts';
import { microBatch } from '../train/setup.ts';
import type { Role } from '../train/setup.ts';
import type { Accuracy } from '../train/tally.ts';
import type { StepProgress } from '../train/train-steps.ts';
import type { PendingRun } from './open-run.ts';
import { Progress, formatDuration, percent, tell as tellTerminal } from './progress.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

export interface RunTrainingOptions {
  /** Default: one process. */
  readonly ranks?: Communicator;
  readonly session: GlobalOptions;
  readonly signal: AbortSignal;
  readonly allowChangedData?: boolean | undefined;
}

/**
 * Trains on every rank, examines the models, and writes the report; also of a run that is interrupted, whose `Interrupted` is
 * thrown on. In one process a lost device is replaced.
 */
export async function runTraining(
  { recipe, folder, resume, moved }: PendingRun,
  { ranks = oneProcess, session, signal, allowChangedData = false }: RunTrainingOptions,
): Promise<TrainResult> {
  // Rank 0 speaks for all.
  const quiet = ranks.rank > 0;
  const tell = quiet ? nothing : tellTerminal;
  const trainOnce = (resuming: boolean): Promise<TrainResult> =>
    withEngine({ ...session, seed: recipe['run.seed'], quiet }, async (engine, say) => {
      const reporter = quiet ? SILENT : new ConsoleReporter(say);
      const afterTraining = async (run: TrainedRun): Promise<void> => {
        say('examining the models for the report');
        const { analysis, answers } = await examineRun(engine, run, microBatch(recipe));
        await folder.writeJson('analysis.json', analysis);
        await folder.writeJson('answers.json', answers);
      };
      return trainRecipe(engine, { recipe, ranks, folder, reporter, resume: resuming, allowChangedData, moved, signal, afterTraining }); // prettier-ignore
    });
  try {
    // Of several ranks, one that has lost its device ends all: they go on together with --resume.
    const result =
      ranks.size > 1 ? await trainOnce(resume) : await outliveDevices(folder.path, tell, resume, trainOnce);
    if (!quiet) tell(`report: ${await writeReport(folder.path)}`);
    return result;
  } catch (error) {
    if (error instanceof Interrupted && !quiet) await writeReport(folder.path);
    throw error;
  }
}

const nothing = (): void => undefined;
/** Of the ranks that do not speak. */
const SILENT: Reporter = { say: nothing, begin: nothing, step: nothing, evaluated: nothing, end: nothing };

class ConsoleReporter implements Reporter {
  private bar: Progress | null = null;
  private firstStep = 0;

  constructor(readonly say: (line: string) => void) {}

  begin(role: Role, steps: number, firstStep: number): void {
    this.firstStep = firstStep;
    this.bar = new Progress(role.padEnd(7), steps, firstStep, 'compiling kernels, then the first step');
  }

  step(_role: Role, progress: StepProgress): void {
    const { step, steps, epoch, imagesPerSecond, secondsLeft } = progress;
    const losses = [progress.lossLabel, progress.lossDistillation].filter((loss) => loss !== null);
    const right = [progress.accuracy, progress.accuracyDistillation].filter((share) => share !== null);
    // The first step compiles, and says nothing of the others.
    const isTimed = step > this.firstStep + 1;
    const text = [
      `epoch ${epoch + 1}`,
      ...(isTimed ? [`${imagesPerSecond.toFixed(1)} images/s`] : []),
      `loss ${losses.map((loss) => loss.toFixed(3)).join(' + ')}`,
      `accuracy ${right.map(percent).join(', ')}`,
      ...(isTimed ? [`${formatDuration(secondsLeft)} left`] : []),
    ];
    this.bar?.setTotal(steps);
    this.bar?.update(step, text.join('  '));
  }

  measuring(): void {
    this.bar?.say('measuring on the held-out images');
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
