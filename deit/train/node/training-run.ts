import type { CachedTuneOptions, Engine } from '../../../engine/node.ts';
import { DeitError } from '../../../engine/index.ts';
import type { LoadTimes } from '../../data/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { expectAgreement } from '../../parallel/agreement.ts';
import { oneProcess, shareValue } from '../../parallel/communicator.ts';
import type { Communicator } from '../../parallel/communicator.ts';
import type { RankTimes } from '../../parallel/rank-times.ts';
import { inTurns } from '../../parallel/slices.ts';
import { createModel, describeModel } from '../../models/registry.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { adapterNames } from '../run-schemas.ts';
import { alignClasses } from '../../weights/classes.ts';
import { Evaluator } from '../evaluate.ts';
import type { Accuracy } from '../tally.ts';
import { leftOutOfEpochs, microBatch, studentOf } from '../setup.ts';
import { describePlan, planTraining, refuseUnfit } from '../training-plan.ts';
import { loadModel, openCheckpoint, openCheckpointOver, saveModel } from './checkpoint.ts';
import { headClasses } from './class-names.ts';
import { MODEL_FILES } from './find-weights.ts';
import { identifyWeights } from './identify-weights.ts';
import type { RunInputs } from './inputs.ts';
import type { ModelCard } from '../../weights/model-card.ts';
import { absolutePath } from './paths.ts';
import { DataListing } from './data-listing.ts';
import { cutMetrics, findCheckpointOver, settleInputs } from './resume.ts';
import type { Moved } from './resume.ts';
import { recordSession } from './sessions.ts';
import type { RunFolder } from './run-folder.ts';
import { removeUnfinished } from './run-state.ts';
import type { ReadCheckpoint } from './run-state.ts';
import { frozen, specFor, teacherSpec } from './run-models.ts';
import { openSources, tellData } from './sources.ts';
import type { Sources } from './sources.ts';
import { Interrupted, trainModel } from './train-model.ts';
import type { BestModel, Reporter, RunContext, StepProfile } from './train-model.ts';
import { settleVariants } from './tuning.ts';

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
  /** Of `student-best.safetensors`; null where nothing was measured before the end. */
  readonly best: BestModel | null;
  readonly steps: number;
  readonly seconds: number;
  readonly imagesPerSecond: number;
  /** Share of the training time spent waiting for data. */
  readonly dataWait: number;
  /** What making the student's batches has cost, in seconds of all threads together; null in runs of version 0.1.0. */
  readonly loading: LoadTimes | null;
  /** What it took that there were several ranks, in the student's training; null where there was one. */
  readonly ranks: RankTimes | null;
  readonly adapter: string;
  readonly runFolder: string;
}

/** The trained models of a run, still on the GPU, and what they were trained on. */
export interface TrainedRun {
  readonly student: Classifier;
  readonly teacher: Classifier | null;
  readonly sources: Sources;
  readonly imageSize: number;
  readonly profile: StepProfile | null;
}

export interface RunOptions {
  readonly recipe: Recipe;
  /** The processes that train together, each of which calls this. Default: one. */
  readonly ranks?: Communicator;
  /** That of rank 0; the others have `RunFolder.ofOtherRank`. */
  readonly folder: RunFolder;
  /** Hears of the same steps on every rank. */
  readonly reporter: Reporter;
  /** Goes on from the latest checkpoint in the folder, if there is one. */
  readonly resume?: boolean;
  /** A resumed run goes on though its data, start weights or teacher have changed. Default false. */
  readonly allowChangedData?: boolean;
  /** Set where a resumed run is given other paths than it was begun with. */
  readonly moved?: Moved | undefined;
  readonly signal?: AbortSignal;
  /** Called on rank 0 when all is trained and saved, before the models are let go of: to examine them, for example. */
  readonly afterTraining?: (run: TrainedRun) => Promise<void>;
  /** How kernel variants are measured, where the recipe wants that. */
  readonly tuning?: CachedTuneOptions;
}

/** Trains what a recipe describes, writes its run folder, and returns the held-out accuracies. Throws `Interrupted`. */
export async function trainRecipe(engine: Engine, options: RunOptions): Promise<TrainResult> {
  try {
    const { ranks = oneProcess } = options;
    const recipe = await shareValue(ranks, ranks.rank === 0 ? await withTeacherModel(options.recipe) : options.recipe);
    return await new TrainingRun(engine, { ...options, recipe }).run();
  } catch (error) {
    // On a lost device all sorts of things fail first.
    throw error instanceof Interrupted ? error : ((await engine.deviceLoss()) ?? error);
  }
}

/** A teacher that comes with weights is of the model that they name, unless the recipe names another. */
async function withTeacherModel(recipe: Recipe): Promise<Recipe> {
  const weights = recipe['teacher.weights'];
  if (recipe['teacher.model'] || !weights) return recipe;
  const { card } = await openCheckpoint(weights);
  return { ...recipe, 'teacher.model': card?.model ?? null };
}

class TrainingRun {
  private readonly ranks: Communicator;
  private readonly recipe: Recipe;
  private readonly folder: RunFolder;
  private readonly reporter: Reporter;
  private readonly start = performance.now();
  private checkpoint: ReadCheckpoint | null = null;
  private inputs!: RunInputs;

  constructor(
    private readonly engine: Engine,
    private readonly options: RunOptions,
  ) {
    ({ recipe: this.recipe, folder: this.folder, reporter: this.reporter } = options);
    this.ranks = options.ranks ?? oneProcess;
  }

  private readonly say = (line: string): void => this.reporter.say(line);

  async run(): Promise<TrainResult> {
    const { engine, ranks, recipe, folder, reporter } = this;
    if (recipe['run.patience'] !== null && recipe['run.evaluateEvery'] === 0) {
      throw new DeitError('bad-config', 'Patience counts evaluations, and there are none.', {
        where: 'run.patience, run.evaluateEvery',
        fix: 'set run.evaluateEvery to the epochs between evaluations, for example 1',
      });
    }
    const { imageSize } = describeModel(recipe['model.name']);
    const sources = await openSources(recipe, imageSize);
    try {
      const spec = specFor(recipe['model.name'], sources);
      tellData(sources.notes, (line) => reporter.say(line));
      for (const line of leftOutOfEpochs(recipe, sources.train.length)) reporter.say(line);
      if (folder.isOwn) await removeUnfinished(folder.path);
      if (this.options.resume) this.checkpoint = await findCheckpointOver(ranks, folder, this.say);
      this.expectSameClasses(sources);
      const { allowChangedData: allowChanged = false, moved } = this.options;
      const inputsOf = { recipe, folder, checkpoint: this.checkpoint, allowChanged, moved };
      const inputs = folder.isOwn ? await settleInputs(inputsOf, sources, this.say) : null;
      this.inputs = (await shareValue(ranks, inputs))!;
      if (recipe['run.tensorboard']) folder.openTensorBoard();
      if (this.options.resume) cutMetrics(folder, this.checkpoint);
      const at = this.checkpoint?.position ?? null;
      const sessions = folder.isOwn ? await recordSession(folder, at, engine.adapter, this.say) : [];
      await this.settleVariants(sources);
      await this.expectSameGround(sources);
      await this.checkMemory(sources);
      const teacher = await this.teacher(sources, imageSize);
      const model = studentOf(engine, recipe, spec);
      // A student that goes on has its weights from its checkpoint.
      if (recipe['model.weights'] && this.checkpoint?.position.role !== 'student') {
        const opened = await openCheckpointOver(ranks, recipe['model.weights'], spec);
        const { classes } = sources;
        loadModel(model, opened, { classes, newHead: true, posEmbed: recipe['model.posEmbed'] }, this.say);
      }
      if (teacher && !model.distilled) {
        reporter.say('the student has no distillation token: its class logits serve the labels and the teacher alike');
      }
      if (!teacher && model.distilled) {
        reporter.say(
          'without a teacher the distillation head learns nothing: look at the class head, or take a plain model',
        );
      }
      const card = this.card(spec, imageSize, sources);
      const context = this.context(sources, imageSize);
      const student = await trainModel(context, 'student', model, teacher?.model ?? null, card);
      const { average, loss } = student.accuracy;
      const measured = { step: student.steps, average: false, accuracy: average, loss };
      if (folder.isOwn) await saveModel(folder.file(MODEL_FILES.last), model, { ...card, measured });
      const result: TrainResult = {
        accuracy: {
          teacher: teacher?.accuracy.class ?? null,
          class: student.accuracy.class,
          distillation: student.accuracy.distillation,
          average: student.accuracy.average,
        },
        ema: student.ema,
        best: student.best,
        steps: student.steps,
        seconds: this.seconds(),
        imagesPerSecond: student.imagesPerSecond,
        dataWait: student.dataWait,
        loading: student.loading,
        ranks: student.ranks,
        adapter: adapterNames(sessions),
        runFolder: folder.path,
      };
      await folder.writeJson('result.json', result);
      for (const line of sources.problems.lines()) reporter.say(line);
      const { profile } = student;
      const trained = { student: model, teacher: teacher?.model ?? null, sources, imageSize, profile };
      if (ranks.rank === 0) await this.options.afterTraining?.(trained);
      return result;
    } finally {
      await sources.close();
    }
  }

  private context(sources: Sources, imageSize: number): RunContext {
    const { engine, ranks, recipe, folder, reporter, checkpoint, inputs } = this;
    const { signal } = this.options;
    const seconds = (): number => this.seconds();
    return { engine, ranks, recipe, folder, reporter, sources, inputs, imageSize, checkpoint, signal, seconds };
  }

  /** What has to be the same on all ranks, or their sums mean nothing. Throws `rank-mismatch`. */
  private async expectSameGround(sources: Sources): Promise<void> {
    const { engine, ranks } = this;
    if (ranks.size === 1) return;
    const { name, vendor, architecture, description } = engine.adapter;
    await expectAgreement(ranks, {
      'list of the images': (await DataListing.of(sources)).sha256,
      adapter: [name, vendor, architecture, description].filter(Boolean).join(', '),
      'kernel variants': JSON.stringify(engine.variants.export()),
    });
  }

  /**
   * A run goes on only over the classes that it began with, in their order, or over as many of other names where the user
   * says so. Throws `class-mismatch`.
   */
  private expectSameClasses({ classes }: Sources): void {
    const { path = '', card = null } = this.checkpoint ?? {};
    if (!card) return;
    const count = card.classes.length;
    try {
      alignClasses({ head: headClasses(card), count, wanted: classes, policy: 'same', where: path });
    } catch (error) {
      if (!(error instanceof DeitError) || !this.options.allowChangedData || count !== classes.length) throw error;
      this.say(`the classes have other names, and are taken in their order as allowed: ${error.details.found}`);
    }
  }

  private async settleVariants({ classes }: Sources): Promise<void> {
    const { engine, ranks, recipe, folder } = this;
    const run = { recipe, folder, classes: classes.length };
    const saved = this.checkpoint?.variants ?? null;
    // Measured on one rank: times are never the same on two.
    if (folder.isOwn) await settleVariants(engine, run, saved, this.say, this.options.tuning);
    const settled = await shareValue(ranks, engine.variants.export());
    if (!folder.isOwn) engine.variants.replace(settled);
  }

  /** States what the training will need, and refuses what does not fit before an hour has gone into it. */
  private async checkMemory({ classes }: Sources): Promise<void> {
    const { engine, ranks, recipe, reporter } = this;
    const plan = await planTraining(engine, recipe, classes.length, { search: false, processes: ranks.size });
    reporter.say(`memory: ${describePlan(plan)}`);
    refuseUnfit(plan, recipe);
  }

  /** The teacher, loaded or trained here, in evaluation mode and frozen; null without distillation. */
  private async teacher(
    sources: Sources,
    imageSize: number,
  ): Promise<{ model: Classifier; accuracy: Accuracy } | null> {
    const { engine, ranks, recipe, folder } = this;
    if (recipe['distillation.type'] === 'none') return null;
    const saved = folder.file(MODEL_FILES.teacher);
    const isTrained = this.checkpoint?.position.role === 'student' && !recipe['teacher.weights'];
    const weights = recipe['teacher.weights'] ?? (isTrained ? saved : null);
    const spec = teacherSpec(recipe, sources, imageSize, weights !== null);
    const model = createModel(engine, spec);
    if (weights) {
      const classes = this.classesOfTeacher(sources, isTrained);
      loadModel(
        model,
        await openCheckpointOver(ranks, weights, spec),
        { classes, posEmbed: recipe['model.posEmbed'] },
        this.say,
      );
      return { model: frozen(model, recipe), accuracy: await this.evaluate(model, sources, imageSize) };
    }
    const card = this.card(spec, imageSize, sources);
    const { accuracy } = await trainModel(this.context(sources, imageSize), 'teacher', model, null, card);
    if (folder.isOwn) {
      await saveModel(saved, model, card);
      this.inputs = { ...this.inputs, teacher: await identifyWeights(saved) };
    }
    return { model: frozen(model, recipe), accuracy };
  }

  /**
   * By which names a teacher's classes are brought into order; undefined: as they lie. Where classes may have been renamed
   * their former names count, and a teacher of this run has its classes in order anyway.
   */
  private classesOfTeacher({ classes }: Sources, isTrained: boolean): readonly string[] | undefined {
    if (!this.options.allowChangedData) return classes;
    return isTrained ? undefined : (this.checkpoint?.card?.classes ?? classes);
  }

  private async evaluate(model: Classifier, sources: Sources, imageSize: number): Promise<Accuracy> {
    const { engine, ranks, recipe } = this;
    const heldOut = sources.evaluation(microBatch(recipe), inTurns(ranks));
    const evaluator = new Evaluator(engine, model, heldOut, imageSize, ranks);
    try {
      return await evaluator.run();
    } finally {
      evaluator.release();
    }
  }

  private card(model: string, imageSize: number, sources: Sources): ModelCard {
    const { recipe } = this;
    const { classes, split } = sources;
    const list = recipe['data.valPath'];
    const [folds, root] = [recipe['data.folds'], recipe['data.root']];
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
        listing: this.inputs.data,
        ...(folds === null ? {} : { folds, fold: recipe['data.fold'] }),
        ...(root === null ? {} : { root: absolutePath(root) }),
      },
    };
  }

  private seconds(): number {
    return (this.checkpoint?.position.seconds ?? 0) + (performance.now() - this.start) / 1000;
  }
}
