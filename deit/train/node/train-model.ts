/** Trains one model of a run, its teacher or its student: prepares, loops over the steps, and measures it in the end. */
import { existsSync } from 'node:fs';
import { DeitError } from '../../../engine/index.ts';
import type { DispatchTime, Engine, MemoryReport } from '../../../engine/index.ts';
import { Ema, learningRate } from '../../../nn/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { describeLoading } from '../../data/index.ts';
import type { LoadTimes } from '../../data/index.ts';
import { shareValue } from '../../parallel/communicator.ts';
import type { Communicator } from '../../parallel/communicator.ts';
import { measureRanks } from '../../parallel/rank-times.ts';
import type { RankTimes } from '../../parallel/rank-times.ts';
import { inTurns, shareOf } from '../../parallel/slices.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { Evaluator } from '../evaluate.ts';
import type { Accuracy } from '../tally.ts';
import { explainStep } from '../non-finite-guard.ts';
import {
  classWeightsOf,
  distillationOf,
  lengthOf,
  microBatch,
  mixingOf,
  optimizerOf,
  parallelOf,
  scheduleOf,
} from '../setup.ts';
import type { Role } from '../setup.ts';
import { TrainStep } from '../step.ts';
import type { StepMetrics, StepUnderWay } from '../step.ts';
import { trainSteps } from '../train-steps.ts';
import type { Length, StepProgress } from '../train-steps.ts';
import { openCheckpoint, saveModel } from './checkpoint.ts';
import { MODEL_FILES } from './find-weights.ts';
import type { RunInputs } from './inputs.ts';
import type { ModelCard } from '../../weights/model-card.ts';
import type { RunFolder } from './run-folder.ts';
import { listCheckpoints, saveCheckpoint } from './run-state.ts';
import type { ReadCheckpoint, Trained } from './run-state.ts';
import type { Sources } from './sources.ts';

/** Steps after which waiting for data is looked at: the first ones wait for threads to start. */
const WAIT_STEPS = 20;
/** Part of the time that is worth a word. */
const MUCH_WAITING = 0.2;

/** Where a run tells what it does. */
export interface Reporter {
  say(line: string): void;
  begin(role: Role, steps: number, firstStep: number): void;
  step(role: Role, progress: StepProgress): void;
  /** The held-out images are being measured. */
  measuring?(role: Role): void;
  /** Held-out accuracy along the way. */
  evaluated(role: Role, step: number, accuracy: Accuracy): void;
  end(role: Role, accuracy: Accuracy, ema: Accuracy | null): void;
}

/** The run was told to stop. Its state is saved. */
export class Interrupted extends Error {}

/** What all trainings of a run share. */
export interface RunContext {
  readonly engine: Engine;
  /** The processes that train together. */
  readonly ranks: Communicator;
  readonly recipe: Recipe;
  readonly folder: RunFolder;
  readonly reporter: Reporter;
  readonly sources: Sources;
  /** What checkpoints keep of what the run is trained on. */
  readonly inputs: RunInputs;
  readonly imageSize: number;
  /** Where to go on from, if the run is resumed. */
  readonly checkpoint: ReadCheckpoint | null;
  readonly signal: AbortSignal | undefined;
  /** Wall-clock seconds of the run so far, over all its sessions. */
  readonly seconds: () => number;
}

/** The last step, with every dispatch timed. */
export interface StepProfile {
  /** Null where the adapter has no clock for it. */
  readonly times: readonly DispatchTime[] | null;
  readonly images: number;
  readonly memory: MemoryReport;
}

/** Weights that did best on the held-out images along the way. */
export interface BestModel {
  readonly step: number;
  /** By the average of the heads. */
  readonly accuracy: number;
}

export interface TrainedModel {
  /** Held-out, of the raw weights. */
  readonly accuracy: Accuracy;
  /** The same of the moving average, if there is one. */
  readonly ema: Accuracy | null;
  /** Null where nothing was measured before the end. */
  readonly best: BestModel | null;
  readonly steps: number;
  readonly imagesPerSecond: number;
  /** Share of the training time spent waiting for data. */
  readonly dataWait: number;
  /** What making its batches has cost. */
  readonly loading: LoadTimes;
  /** What it took that there were several ranks; null where there was one. */
  readonly ranks: RankTimes | null;
  readonly profile: StepProfile | null;
}

/** `card` says what the model is, in every file of it. Throws `Interrupted`, with a checkpoint saved, if the run is told to stop. */
export async function trainModel(
  context: RunContext,
  role: Role,
  model: Classifier,
  teacher: Classifier | null,
  card: ModelCard,
): Promise<TrainedModel> {
  const training = new ModelTraining(context, role, model, teacher, card);
  await training.prepare();
  await training.loop();
  return training.finish();
}

class ModelTraining {
  private readonly trained: Trained;
  private readonly source;
  private readonly stepsPerEpoch: number;
  private readonly trainStep: TrainStep;
  private readonly evaluator: Evaluator;
  private readonly firstStep: number;
  private readonly length: Length;
  private done: number;
  private steps: number;
  private imagesPerSecond = 0;
  private loopSeconds = 0;
  private profile: StepProfile | null = null;
  private best: BestModel | null = null;
  private ranks: RankTimes | null = null;

  constructor(
    private readonly context: RunContext,
    private readonly role: Role,
    private readonly model: Classifier,
    teacher: Classifier | null,
    private readonly card: ModelCard,
  ) {
    const { engine, ranks, recipe, sources, imageSize, checkpoint } = context;
    const accumulate = recipe['data.accumulate'];
    const source = sources.training(microBatch(recipe), shareOf(ranks, accumulate));
    this.source = source;
    this.stepsPerEpoch = Math.max(1, Math.floor(source.batchesPerEpoch / accumulate));
    const optimizer = optimizerOf(recipe, role, model);
    const decay = role === 'student' ? recipe['optim.ema'] : null;
    const ema = decay === null ? null : new Ema(model, optimizer, decay);
    this.trained = { model, optimizer, ema };
    const position = checkpoint?.position.role === role ? checkpoint.position : null;
    if (position) checkpoint!.restore(this.trained);
    this.firstStep = this.done = position?.step ?? 0;
    // A resumed training has the length that was found for it before.
    this.length = position
      ? { steps: position.steps, seconds: null }
      : lengthOf(recipe, role, this.stepsPerEpoch, context.seconds());
    this.steps = this.length.steps;
    model.train(role === 'teacher' || recipe['run.trainMode']);
    this.trainStep = new TrainStep({
      engine,
      student: model,
      teacher,
      optimizer,
      ema,
      distillation: distillationOf(recipe, teacher !== null),
      smoothing: recipe['augment.smoothing'],
      classWeights: classWeightsOf(recipe, sources.train),
      mixing: mixingOf(recipe, role),
      batchSize: source.batchSize,
      accumulate,
      imageSize,
      nonFinite: recipe['run.nonFinite'],
      parallel: parallelOf(recipe, ranks, engine.adapter.software),
    });
    const heldOut = sources.evaluation(microBatch(recipe), inTurns(ranks));
    this.evaluator = new Evaluator(engine, model, heldOut, imageSize, ranks);
  }

  /** A student that goes on has had its best weights kept before. */
  async prepare(): Promise<void> {
    const { folder } = this.context;
    const path = folder.file(MODEL_FILES.best);
    if (!folder.isOwn || this.role !== 'student' || this.firstStep === 0 || !existsSync(path)) return;
    const { card } = await openCheckpoint(path);
    if (card?.measured) this.best = { step: card.measured.step, accuracy: card.measured.accuracy };
  }

  async loop(): Promise<void> {
    const { context, role, firstStep, length, stepsPerEpoch, source } = this;
    const { engine, ranks, recipe, folder, reporter, sources, signal } = context;
    const checkpointEvery = recipe['run.checkpointEvery'];
    const betweenEvaluations = recipe['run.evaluateEvery'] * stepsPerEpoch;
    const evaluateEvery = betweenEvaluations === 0 ? Infinity : Math.max(1, Math.round(betweenEvaluations));
    const isSaved = (step: number): boolean => step % checkpointEvery === 0;
    const isEvaluated = (step: number): boolean => step % evaluateEvery === 0;
    let skipped = 0;
    engine.resetPeakMemory();
    const began = context.seconds();
    const before = { ...ranks.time };
    reporter.begin(role, length.steps, firstStep);
    const steps = trainSteps({
      source,
      accumulate: recipe['data.accumulate'],
      ranks,
      length,
      firstStep,
      schedule: (step, total) => learningRate(scheduleOf(recipe, role, total / stepsPerEpoch), step, stepsPerEpoch),
      run: (batches, step, lr, total, wishes) => {
        const begin = (): StepUnderWay => this.trainStep.begin(batches, step, lr, wishes);
        return step + 1 === total ? this.timed(begin) : begin();
      },
      news: { hasNews: () => sources.problems.hasNews, share: () => sources.shareProblems(ranks) },
      // The last step is timed, so the one before it must be over.
      settleAfter: (step, total) => isSaved(step) || isEvaluated(step) || step + 1 === total,
      signal,
    });
    for await (const trainedStep of steps) {
      const { progress, settled } = trainedStep;
      const { step } = progress;
      if (progress.nonFinite > 0) {
        if (recipe['run.nonFinite'] === 'stop') {
          const hasCheckpoint = folder.isOwn && (await listCheckpoints(folder.path)).length > 0;
          throw await explainStep(this.trainStep, trainedStep, await shareValue(ranks, hasCheckpoint), ranks);
        }
        skipped++;
        reporter.say(`${role}: step ${step} was left out: its loss or gradient is not finite (${skipped} so far)`);
      }
      folder.appendMetrics({ role, ...progress });
      reporter.step(role, progress);
      ({ step: this.done, steps: this.steps, imagesPerSecond: this.imagesPerSecond } = progress);
      if (step - firstStep === WAIT_STEPS) this.tellWaiting(context.seconds() - began);
      if (!settled || step === progress.steps) continue;
      // First the figures, so that a run resumed from this checkpoint has them.
      if (isEvaluated(step)) {
        const { accuracy } = await this.evaluate();
        reporter.evaluated(role, step, accuracy);
        if (accuracy.average > (this.best?.accuracy ?? -1)) await this.saveBest(accuracy);
        // As rank 0 says: after a resumption it alone knows the best so far.
        if (recipe['run.patience'] !== null && (await shareValue(ranks, this.isOutOfPatience(evaluateEvery)))) {
          this.steps = step;
          const best = this.best && ` than ${(100 * this.best.accuracy).toFixed(1)} % after step ${this.best.step}`;
          reporter.say(`${role}: ends after step ${step} of ${progress.steps}, since nothing was better${best ?? ''}`);
          break;
        }
      }
      if (isSaved(step)) await this.save();
    }
    this.loopSeconds = context.seconds() - began;
    this.ranks = await measureRanks(ranks, before, this.trainStep.copySeconds, this.loopSeconds);
    if (this.done < this.steps) {
      await this.save();
      throw new Interrupted(`stopped the ${role} after step ${this.done} of ${this.steps}`);
    }
  }

  /** Says so, once, where much of the time so far went into waiting for batches, and which part of making them is the slow one. */
  private tellWaiting(seconds: number): void {
    const waiting = this.source.waitSeconds / seconds;
    const loading = describeLoading(this.source.times);
    if (waiting < MUCH_WAITING || !loading) return;
    const { parts, advice } = loading;
    this.context.reporter.say(`${this.role}: ${Math.round(100 * waiting)} % of the time so far was spent waiting for data (${parts}); what helps: ${advice}`); // prettier-ignore
  }

  /** Whether the student has been measured often enough without having become better. */
  private isOutOfPatience(stepsBetween: number): boolean {
    const patience = this.context.recipe['run.patience'];
    if (patience === null || this.best === null || this.role !== 'student') return false;
    return this.done - this.best.step >= stepsBetween * patience;
  }

  async finish(): Promise<TrainedModel> {
    const { context, role, trained, done, imagesPerSecond, profile } = this;
    this.trainStep.release();
    const { accuracy, ema } = await this.evaluate();
    this.evaluator.release();
    // Where nothing was measured along the way the last weights are the only ones, and are saved as such.
    if (this.best && accuracy.average > this.best.accuracy) await this.saveBest(accuracy);
    if (ema) {
      const path = context.folder.file(MODEL_FILES.average);
      await trained.ema!.withAverages(() => this.saveModel(path, this.cardOf(ema, true)));
    }
    trained.ema?.free();
    trained.optimizer.free();
    context.reporter.end(role, accuracy, ema);
    const dataWait = this.source.waitSeconds / Math.max(1e-9, this.loopSeconds);
    const loading = this.source.times;
    return {
      accuracy,
      ema,
      best: this.best,
      steps: done,
      imagesPerSecond,
      dataWait,
      loading,
      ranks: this.ranks,
      profile,
    };
  }

  /** Runs a step with every dispatch timed. The step itself computes what it would without. */
  private timed(begin: () => StepUnderWay): StepUnderWay {
    const { engine, recipe } = this.context;
    const profile = { images: this.source.batchSize * recipe['data.accumulate'], memory: engine.memory() };
    if (!engine.adapter.features.includes('timestamp-query')) {
      this.profile = { ...profile, times: null };
      return begin();
    }
    // The step begins when the clock is ready for it.
    let begun: (step: StepUnderWay) => void;
    let failed: (error: unknown) => void;
    const underWay = new Promise<StepUnderWay>((resolve, reject) => ([begun, failed] = [resolve, reject]));
    const timing = engine.timeDispatches(async () => {
      const step = begin();
      begun(step);
      await step.metrics;
    });
    timing.catch((error: unknown) => failed(error));
    const metrics = async (): Promise<StepMetrics> => {
      this.profile = { ...profile, times: await timing };
      return (await underWay).metrics;
    };
    return { metrics: metrics(), agreed: async () => (await underWay).agreed() };
  }

  /** On the held-out images, raw weights and moving average. */
  private async evaluate() {
    const { context, role, evaluator, done: step } = this;
    const { ema } = this.trained;
    context.reporter.measuring?.(role);
    const accuracy = await evaluator.run();
    const averaged = ema ? await ema.withAverages(() => evaluator.run()) : null;
    await context.sources.shareProblems(context.ranks);
    context.folder.appendMetrics({ role, step, accuracy, ema: averaged });
    return { accuracy, ema: averaged };
  }

  /** The card of the weights as they are, with what was measured of them. */
  private cardOf({ average: accuracy, loss }: Accuracy, average: boolean): ModelCard {
    return { ...this.card, measured: { step: this.done, average, accuracy, loss } };
  }

  private async saveBest(accuracy: Accuracy): Promise<void> {
    if (this.role !== 'student') return;
    this.best = { step: this.done, accuracy: accuracy.average };
    await this.saveModel(this.context.folder.file(MODEL_FILES.best), this.cardOf(accuracy, false));
  }

  private async saveModel(path: string, card: ModelCard): Promise<void> {
    if (this.context.folder.isOwn) await saveModel(path, this.model, card);
  }

  private async save(): Promise<void> {
    const { role, done: step, steps, trained } = this;
    const { engine, recipe, folder, reporter, seconds, inputs } = this.context;
    if (!folder.isOwn) return;
    try {
      const position = { role, step, steps, seconds: seconds() };
      folder.flushMetrics();
      const [keep, variants] = [recipe['run.keep'], engine.variants.export()];
      await saveCheckpoint(folder.path, keep, position, trained, variants, { card: this.card, inputs });
    } catch (error) {
      if (recipe['run.onSaveError'] === 'stop' || !(error instanceof DeitError)) throw error;
      reporter.say(`checkpoint after step ${step} not written, going on: ${error.message}`);
    }
  }
}
