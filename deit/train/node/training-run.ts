import type { CachedTuneOptions, Engine } from '../../../engine/node.ts';
import { DeitError } from '../../../engine/index.ts';
import { Ema, learningRate, stateValues } from '../../../nn/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { createModel, describeModel } from '../../models/registry.ts';
import type { Recipe } from '../../recipe/settings.ts';
import type { TrainingFigures } from '../../report/analysis.ts';
import { Examiner } from '../../report/node/examiner.ts';
import { writeReport } from '../../report/node/run-files.ts';
import { loadWeights } from '../../weights/index.ts';
import { Evaluator } from '../evaluate.ts';
import type { Accuracy } from '../evaluate.ts';
import { fit } from '../fit.ts';
import type { FitProgress } from '../fit.ts';
import {
  applyPrecision,
  distillationOf,
  lengthOf,
  microBatch,
  mixingOf,
  optimizerOf,
  scheduleOf,
  studentOf,
} from '../setup.ts';
import type { Role } from '../setup.ts';
import { describePlan, planTraining, refuseUnfit } from '../training-plan.ts';
import { explainStep } from '../non-finite-guard.ts';
import { TrainStep } from '../step.ts';
import { openCheckpoint, saveModel } from './checkpoint.ts';
import type { ModelCard } from './model-card.ts';
import { absolutePath } from './paths.ts';
import type { RunFolder } from './run-folder.ts';
import { latestCheckpoint, listCheckpoints, removeUnfinished, saveCheckpoint } from './run-state.ts';
import type { ReadCheckpoint, Trained } from './run-state.ts';
import { openSources, tellData } from './sources.ts';
import type { Sources } from './sources.ts';
import { settleVariants } from './tuning.ts';

/** Where a run tells what it does. */
export interface Reporter {
  say(line: string): void;
  begin(role: Role, steps: number, firstStep: number): void;
  step(role: Role, progress: FitProgress): void;
  /** Held-out accuracy along the way. */
  evaluated(role: Role, step: number, accuracy: Accuracy): void;
  end(role: Role, accuracy: Accuracy, ema: Accuracy | null): void;
}

export interface TrainResult {
  /** Held-out, of the raw weights. */
  readonly accuracy: {
    readonly teacher: number | null;
    readonly class: number;
    readonly distillation: number | null;
    readonly average: number;
  };
  /** The same of the moving average, if there is one. */
  readonly ema: Accuracy | null;
  readonly steps: number;
  readonly seconds: number;
  readonly imagesPerSecond: number;
  /** Share of the training time spent waiting for data. */
  readonly dataWait: number;
  readonly adapter: string;
  readonly runFolder: string;
}

/** The run was told to stop. Its state is saved. */
export class Interrupted extends Error {}

export interface RunOptions {
  readonly recipe: Recipe;
  readonly folder: RunFolder;
  readonly reporter: Reporter;
  /** Goes on from the latest checkpoint in the folder, if there is one. */
  readonly resume?: boolean;
  readonly signal?: AbortSignal;
  /** How kernel variants are measured, where the recipe wants that. */
  readonly tuning?: CachedTuneOptions;
}

/** Trains what a recipe describes, writes its run folder, and returns the held-out accuracies. Throws `Interrupted`. */
export async function trainRecipe(engine: Engine, options: RunOptions): Promise<TrainResult> {
  try {
    return await new TrainingRun(engine, options).run();
  } catch (error) {
    // On a lost device all sorts of things fail first.
    throw error instanceof Interrupted ? error : ((await engine.deviceLoss()) ?? error);
  }
}

class TrainingRun {
  private readonly recipe: Recipe;
  private readonly folder: RunFolder;
  private readonly reporter: Reporter;
  private readonly start = performance.now();
  private checkpoint: ReadCheckpoint | null = null;
  private readonly examiner: Examiner;

  constructor(
    private readonly engine: Engine,
    private readonly options: RunOptions,
  ) {
    this.examiner = new Examiner(engine);
    ({ recipe: this.recipe, folder: this.folder, reporter: this.reporter } = options);
  }

  async run(): Promise<TrainResult> {
    const { engine, recipe, folder, reporter } = this;
    const { imageSize } = describeModel(recipe['model.name']);
    const sources = await openSources(recipe, imageSize);
    try {
      const spec = specFor(recipe['model.name'], sources);
      tellData(sources.notes, (line) => reporter.say(line));
      await removeUnfinished(folder.path);
      if (this.options.resume) await this.findCheckpoint();
      await this.settleVariants(sources);
      await this.checkMemory(sources);
      const teacher = await this.teacher(sources, imageSize);
      const model = studentOf(engine, recipe, spec);
      if (recipe['model.weights']) await this.load(model, recipe['model.weights'], true);
      if (teacher && !model.distilled) {
        reporter.say('the student has no distillation token: its class logits serve the labels and the teacher alike');
      }
      if (!teacher && model.distilled) {
        reporter.say(
          'without a teacher the distillation head learns nothing: look at the class head, or take a plain model',
        );
      }
      const student = await this.train('student', model, teacher?.model ?? null, sources, imageSize);
      await saveModel(folder.file('student.safetensors'), model, this.card(spec, imageSize, sources));
      const result: TrainResult = {
        accuracy: {
          teacher: teacher?.accuracy.class ?? null,
          class: student.accuracy.class,
          distillation: student.accuracy.distillation,
          average: student.accuracy.average,
        },
        ema: student.ema,
        steps: student.steps,
        seconds: this.seconds(),
        imagesPerSecond: student.imagesPerSecond,
        dataWait: student.dataWait,
        adapter: engine.adapter.name,
        runFolder: folder.path,
      };
      await folder.writeJson('result.json', result);
      this.nameSkipped(sources);
      const examined = { student: model, teacher: teacher?.model ?? null, sources, imageSize };
      await folder.writeJson(
        'analysis.json',
        await this.examiner.analyze(examined, microBatch(recipe), student.figures),
      );
      reporter.say(`report: ${await writeReport(folder.path)}`);
      return result;
    } finally {
      await sources.close();
    }
  }

  private async settleVariants({ classes }: Sources): Promise<void> {
    const { engine, recipe, folder, reporter } = this;
    const run = { recipe, folder, classes: classes.length };
    const saved = this.checkpoint?.variants ?? null;
    await settleVariants(engine, run, saved, (line) => reporter.say(line), this.options.tuning);
  }

  /** States what the training will need, and refuses what does not fit before an hour has gone into it. */
  private async checkMemory({ classes }: Sources): Promise<void> {
    const { engine, recipe, reporter } = this;
    const plan = await planTraining(engine, recipe, classes.length, { search: false });
    reporter.say(`memory: ${describePlan(plan)}`);
    refuseUnfit(plan, recipe);
  }

  private async findCheckpoint(): Promise<void> {
    const { folder, reporter } = this;
    this.checkpoint = await latestCheckpoint(folder.path, (path, error) =>
      reporter.say(`${path} cannot be read (${String(error).split('\n')[0]}); trying an earlier one`),
    );
    if (!this.checkpoint) {
      folder.cutMetrics(() => false);
      return;
    }
    const { role, step, steps } = this.checkpoint.position;
    reporter.say(`resuming the ${role} after step ${step} of ${steps}`);
    folder.cutMetrics((line) => (line.role === role ? Number(line.step) <= step : role === 'student'));
  }

  /** The teacher, loaded or trained here, in evaluation mode and frozen; null without distillation. */
  private async teacher(
    sources: Sources,
    imageSize: number,
  ): Promise<{ model: Classifier; accuracy: Accuracy } | null> {
    const { engine, recipe, folder } = this;
    if (recipe['distillation.type'] === 'none') return null;
    const name = recipe['teacher.model'];
    if (!name) {
      throw new DeitError('bad-config', 'Distillation needs a teacher.', {
        where: 'teacher.model',
        fix: 'name one, for example --set "teacher.model=regnety_002 num_classes=10", or set distillation.type=none',
      });
    }
    // A DeiT as teacher is brought to the student's resolution, whose images it sees; a RegNetY takes any.
    const own = describeModel(specFor(name, sources));
    const spec = own.imageSize === imageSize ? own.spec : describeModel(own.spec, { imageSize }).spec;
    const model = createModel(engine, spec);
    const saved = folder.file('teacher.safetensors');
    const isTrained = this.checkpoint?.position.role === 'student' && !recipe['teacher.weights'];
    const weights = recipe['teacher.weights'] ?? (isTrained ? saved : null);
    if (weights) {
      await this.load(model, weights, false);
      return { model: this.frozen(model), accuracy: await this.evaluate(model, sources, imageSize) };
    }
    const { accuracy } = await this.train('teacher', model, null, sources, imageSize);
    await saveModel(saved, model, this.card(spec, imageSize, sources));
    return { model: this.frozen(model), accuracy };
  }

  /** In evaluation mode, and in the student's precision. */
  private frozen(model: Classifier): Classifier {
    applyPrecision(model, this.recipe['model.precision']);
    model.requiresGrad_(false).eval();
    return model;
  }

  private async train(role: Role, model: Classifier, teacher: Classifier | null, sources: Sources, imageSize: number) {
    const { engine, recipe, reporter, folder } = this;
    const accumulate = recipe['data.accumulate'];
    const source = sources.training(microBatch(recipe));
    const stepsPerEpoch = Math.max(1, Math.floor(source.batchesPerEpoch / accumulate));
    const optimizer = optimizerOf(recipe, role, model);
    const decay = role === 'student' ? recipe['optim.ema'] : null;
    const ema = decay === null ? null : new Ema(model, optimizer, decay);
    const trained: Trained = { model, optimizer, ema };
    const position = this.checkpoint?.position.role === role ? this.checkpoint.position : null;
    if (position) this.checkpoint!.restore(trained);
    const firstStep = position?.step ?? 0;
    // A resumed training has the length that was found for it before.
    const length = position
      ? { steps: position.steps, seconds: null }
      : lengthOf(recipe, role, stepsPerEpoch, this.seconds());
    model.train(role === 'teacher' || recipe['run.trainMode']);
    const trainStep = new TrainStep({
      engine,
      student: model,
      teacher,
      optimizer,
      ema,
      distillation: distillationOf(recipe, teacher !== null),
      smoothing: recipe['augment.smoothing'],
      mixing: mixingOf(recipe, role),
      batchSize: source.batchSize,
      accumulate,
      imageSize,
      nonFinite: recipe['run.nonFinite'],
    });
    let skippedSteps = 0;
    const every = recipe['run.checkpointEvery'];
    const betweenEvaluations = recipe['run.evaluateEvery'] * stepsPerEpoch;
    const evaluateEvery = betweenEvaluations === 0 ? Infinity : Math.max(1, Math.round(betweenEvaluations));
    const isEvaluated = (step: number): boolean => step % evaluateEvery === 0;
    const evaluator = new Evaluator(engine, model, sources.evaluation(microBatch(recipe)), imageSize);
    const evaluate = async (step: number) => {
      const accuracy = await evaluator.run();
      const averaged = ema ? await ema.withAverages(() => evaluator.run()) : null;
      folder.appendMetrics({ role, step, accuracy, ema: averaged });
      return { accuracy, ema: averaged };
    };
    let imagesPerSecond = 0;
    let figures: TrainingFigures | null = null;
    const images = source.batchSize * accumulate;
    engine.resetPeakMemory();
    const began = this.seconds();
    reporter.begin(role, length.steps, firstStep);
    const { done, steps } = await fit({
      trainStep,
      source,
      accumulate,
      length,
      firstStep,
      schedule: (step, total) => learningRate(scheduleOf(recipe, role, total / stepsPerEpoch), step, stepsPerEpoch),
      onStep: (progress) => {
        imagesPerSecond = progress.imagesPerSecond;
        folder.appendMetrics({ role, ...progress });
        reporter.step(role, progress);
      },
      onNonFinite: async (faulty) => {
        if (recipe['run.nonFinite'] === 'stop') {
          return explainStep(trainStep, faulty, (await listCheckpoints(folder.path)).length > 0);
        }
        skippedSteps++;
        reporter.say(
          `${role}: step ${faulty.step + 1} was left out: its loss or gradient is not finite (${skippedSteps} so far)`,
        );
        return null;
      },
      pauseAfter: (step) => step % every === 0 || isEvaluated(step),
      onPause: async (step, total) => {
        // First the figures, so that a run resumed from this checkpoint has them.
        if (isEvaluated(step)) reporter.evaluated(role, step, (await evaluate(step)).accuracy);
        if (step % every === 0) await this.save(role, step, total, trained);
      },
      aroundLast: (step) =>
        this.examiner.profile(step, images, (found) => {
          figures = found;
        }),
      signal: this.options.signal,
    });
    const dataWait = source.waitSeconds / Math.max(1e-9, this.seconds() - began);
    if (done < steps) {
      await this.save(role, done, steps, trained);
      throw new Interrupted(`stopped the ${role} after step ${done} of ${steps}`);
    }
    trainStep.release();
    const { accuracy, ema: averaged } = await evaluate(done);
    evaluator.release();
    ema?.free();
    optimizer.free();
    reporter.end(role, accuracy, averaged);
    return { accuracy, ema: averaged, steps: done, imagesPerSecond, dataWait, figures };
  }

  private async save(role: Role, step: number, steps: number, trained: Trained): Promise<void> {
    const { engine, recipe, folder, reporter } = this;
    try {
      const position = { role, step, steps, seconds: this.seconds() };
      folder.flushMetrics();
      await saveCheckpoint(folder.path, recipe['run.keep'], position, trained, engine.variants.export());
    } catch (error) {
      if (recipe['run.onSaveError'] === 'stop' || !(error instanceof DeitError)) throw error;
      reporter.say(`checkpoint after step ${step} not written, going on: ${error.message}`);
    }
  }

  private async evaluate(model: Classifier, sources: Sources, imageSize: number): Promise<Accuracy> {
    const evaluator = new Evaluator(this.engine, model, sources.evaluation(microBatch(this.recipe)), imageSize);
    try {
      return await evaluator.run();
    } finally {
      evaluator.release();
    }
  }

  /** Images that could not be read and were left out, by name. */
  private nameSkipped({ skipped }: Sources): void {
    if (skipped.size === 0) return;
    this.reporter.say(`${skipped.size} images could not be read and were left out:`);
    for (const [path, reason] of [...skipped].slice(0, 20)) this.reporter.say(`  ${path}: ${reason.split('\n')[0]}`);
    if (skipped.size > 20) this.reporter.say(`  and ${skipped.size - 20} more`);
  }

  private async load(model: Classifier, path: string, newHead: boolean): Promise<void> {
    const { tensors } = await openCheckpoint(path);
    const { notes } = loadWeights(model, stateValues(tensors), {
      newHead,
      posEmbed: this.recipe['model.posEmbed'],
      source: path,
    });
    for (const note of notes) this.reporter.say(`${path}: ${note}`);
  }

  private card(model: string, imageSize: number, sources: Sources): ModelCard {
    const { recipe } = this;
    const { classes, split } = sources;
    const list = recipe['data.valPath'];
    return {
      model,
      classes,
      imageSize,
      cropPct: 0.875,
      interpolation: 'bicubic',
      data: absolutePath(recipe['data.path']),
      heldOut: {
        split,
        fraction: recipe['data.valFraction'],
        seed: recipe['run.seed'],
        list: list === null ? null : absolutePath(list),
      },
    };
  }

  private seconds(): number {
    return (this.checkpoint?.position.seconds ?? 0) + (performance.now() - this.start) / 1000;
  }
}

/** A model's name with the number of classes of the data, unless it states one itself, which must then be the same. */
function specFor(name: string, { classes, name: data }: Sources): string {
  const own = describeModel(name);
  if (own.classes === classes.length) return own.spec;
  if (!own.spec.includes(' num_classes=')) return describeModel(name, { classes: classes.length }).spec;
  throw new DeitError('bad-config', 'The model has another number of classes than the data.', {
    where: `${name} on ${data}`,
    expected: `${classes.length} classes`,
    found: String(own.classes),
    fix: `leave num_classes out of the model name, or make it ${classes.length}`,
  });
}
