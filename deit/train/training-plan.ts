/** What a training will need, found by recording it without running it. Browser-safe. */
import { DeitError, formatBytes } from '../../engine/index.ts';
import type { DryRun, Engine, MemoryReport } from '../../engine/index.ts';
import { Ema } from '../../nn/index.ts';
import { createModel, describeModel } from '../models/registry.ts';
import type { Classifier } from '../models/classifier.ts';
import { ImageBytes, imagenetNormalization } from '../data/index.ts';
import type { Recipe } from '../recipe/settings.ts';
import type { Batch, BatchSource } from './batches.ts';
import { Evaluator } from './evaluate.ts';
import { oneProcess } from '../parallel/communicator.ts';
import { divisors, shareOf } from '../parallel/slices.ts';
import { applyPrecision, distillationOf, microBatch, mixingOf, optimizerOf, parallelOf, studentOf } from './setup.ts';
import { TrainStep } from './step.ts';

export interface TrainingPlan {
  /** Images in a micro-batch. */
  readonly batch: number;
  /** The most GPU memory at any time, and what it consists of. */
  readonly peakBytes: number;
  readonly parts: Readonly<
    Record<'weights' | 'gradients' | 'optimizer' | 'activations' | 'teacher' | 'data' | 'exchange' | 'other', number>
  >;
  readonly largestBinding: { readonly bytes: number; readonly where: string };
  readonly largestBindingAllowed: number;
  /** Kernel calls of one optimizer step. */
  readonly dispatches: number;
  /** What the engine may use; Infinity without a limit. */
  readonly budget: number;
  /** The largest micro-batch that fits the budget and the adapter's limits, up to 1,024; null if it was not looked for. */
  readonly largestBatch: number | null;
}

const MOST_IMAGES = 1024;
/** Bytes of a micro-batch's images on the host. */
const MOST_BYTES = 2 ** 32;

/**
 * Records the student's training and evaluation of a recipe for `classes` classes on an engine that runs nothing. Looks for
 * the largest batch if `search` is set or the one asked for does not fit. `processes`: as one rank of so many. Throws `limit-exceeded` where no budget would help.
 */
export async function planTraining(
  engine: Engine,
  recipe: Recipe,
  classes: number,
  { search, processes = 1 }: { search: boolean; processes?: number },
): Promise<TrainingPlan> {
  const batch = microBatch(recipe);
  const needs = await dryTraining(engine, recipe, classes, batch, processes);
  const isFit = (at: Needs | DeitError): boolean => !(at instanceof DeitError) && at.peakBytes <= engine.memoryBudget;
  const fits = async (images: number): Promise<boolean> =>
    isFit(images === batch ? needs : await dryTraining(engine, recipe, classes, images, processes));
  // Mixing pairs the images of a batch.
  const step = mixingOf(recipe, 'student') ? 2 : 1;
  const largestBatch = search || !isFit(needs) ? await largest(fits, batch, step) : null;
  if (!(needs instanceof DeitError)) return { ...needs, batch, budget: engine.memoryBudget, largestBatch };
  throw new DeitError(needs.code, 'A micro-batch of this training is beyond a limit of the adapter.', {
    ...needs.details,
    where: `${batch} images at once: ${needs.details.where ?? ''}`,
    fix: settingThatFits(recipe, largestBatch ?? 0),
  });
}

function settingThatFits(recipe: Recipe, largestBatch: number): string {
  const total = recipe['data.batchSize'];
  const accumulate = divisors(total).find((parts) => total / parts <= largestBatch);
  return accumulate === undefined
    ? 'choose a smaller model or image size, or raise the limit with --memory'
    : `--set data.accumulate=${accumulate} computes the same batch of ${total} in parts of ${total / accumulate}, which fit`;
}

/** Throws `out-of-memory`, with the settings that would fit, if the plan does not fit the budget. */
export function refuseUnfit(plan: TrainingPlan, recipe: Recipe): void {
  if (plan.peakBytes <= plan.budget) return;
  throw new DeitError('out-of-memory', 'This training does not fit into the memory that the engine may use.', {
    where: describePlan(plan),
    expected: `at most ${formatBytes(plan.budget)}`,
    found: formatBytes(plan.peakBytes),
    fix: settingThatFits(recipe, plan.largestBatch ?? 0),
  });
}

export function describePlan({
  batch,
  peakBytes,
  parts,
  dispatches,
  largestBatch,
  largestBinding,
}: TrainingPlan): string {
  const listed = Object.entries(parts).filter(([, bytes]) => bytes > 0);
  const account = listed.map(([name, bytes]) => `${name} ${formatBytes(bytes)}`).join(', ');
  return (
    `${formatBytes(peakBytes)} at ${batch} images a micro-batch (${account}); largest binding ${formatBytes(largestBinding.bytes)}; ` +
    `${dispatches} dispatches a step${largestBatch === null ? '' : `; up to ${largestBatch} images fit`}`
  );
}

/** The largest multiple of `step` for which `fits` holds, by doubling from `start` and bisection. */
async function largest(fits: (n: number) => Promise<boolean>, start: number, step: number): Promise<number> {
  let low = 0;
  let high = Math.ceil(start / step);
  while (high * step <= MOST_IMAGES && (await fits(high * step))) [low, high] = [high, 2 * high];
  high = Math.min(high, Math.floor(MOST_IMAGES / step) + 1);
  // A sixteenth of accuracy is enough to choose a batch by.
  while (high - low > Math.max(1, low >> 4)) {
    const middle = (low + high) >> 1;
    if (await fits(middle * step)) low = middle;
    else high = middle;
  }
  return low * step;
}

type Needs = Omit<TrainingPlan, 'batch' | 'budget' | 'largestBatch'>;

/** One optimizer step and one evaluated batch; an error if a limit of the adapter is in the way. */
async function dryTraining(
  engine: Engine,
  recipe: Recipe,
  classes: number,
  batch: number,
  processes: number,
): Promise<Needs | DeitError> {
  const dry = engine.dry();
  try {
    return await recordTraining(dry, recipe, classes, batch, processes);
  } catch (error) {
    if (error instanceof DeitError && error.code === 'limit-exceeded') return error;
    throw error;
  } finally {
    dry.engine.close();
  }
}

async function recordTraining(
  { engine, largestBinding }: DryRun,
  recipe: Recipe,
  classes: number,
  batch: number,
  processes: number,
): Promise<Needs> {
  const training = await emptyTraining(engine, recipe, classes, { batch, processes });
  const { trainStep, evaluator, teacherBytes, step } = training;
  for (let number = 0; number < 2; number++) await step(number);
  await evaluator.run();
  await engine.idle();
  const memory = engine.memory();
  return {
    peakBytes: memory.peakBytes,
    parts: partsOf(memory, teacherBytes),
    largestBinding: { ...largestBinding },
    largestBindingAllowed: engine.profile.maxBindingSize,
    dispatches: trainStep.dispatches,
  };
}

/** A training as it will run, but on empty images: to be recorded without running, or timed. */
export interface EmptyTraining {
  readonly trainStep: TrainStep;
  readonly evaluator: Evaluator;
  /** Bytes that the teacher keeps. */
  readonly teacherBytes: number;
  /** One optimizer step of this rank. */
  readonly step: (number: number) => Promise<unknown>;
}

export interface EmptyTrainingOptions {
  /** Images of a micro-batch; default: the recipe's. */
  readonly batch?: number;
  /** As one rank of so many; default: 1. */
  readonly processes?: number;
  /** Instead of the recipe's teacher. */
  readonly teacher?: Classifier;
}

/** The models are new: how long a step takes does not depend on their weights. */
export async function emptyTraining(
  engine: Engine,
  recipe: Recipe,
  classes: number,
  { batch = microBatch(recipe), processes = 1, teacher: given }: EmptyTrainingOptions = {},
): Promise<EmptyTraining> {
  const { imageSize } = describeModel(recipe['model.name']);
  const bytes = 3 * batch * imageSize * imageSize;
  if (bytes > MOST_BYTES) {
    throw new DeitError('limit-exceeded', 'The images of a micro-batch do not fit into one array.', {
      where: 'data.batchSize and data.accumulate',
      expected: `at most ${formatBytes(MOST_BYTES)}`,
      found: formatBytes(bytes),
    });
  }
  // The teacher sees the student's images, so it is brought to their resolution.
  const specOf = (name: string): string => {
    const { imageSize: own } = describeModel(name);
    return describeModel(name, own === imageSize ? { classes } : { classes, imageSize }).spec;
  };
  const teacher = given ?? (await dryTeacher(engine, recipe, specOf));
  const teacherBytes = engine.memory().keptBytes;
  const student = studentOf(engine, recipe, specOf(recipe['model.name']));
  const optimizer = optimizerOf(recipe, 'student', student);
  const decay = recipe['optim.ema'];
  const ema = decay === null ? null : new Ema(student, optimizer, decay);
  student.train(recipe['run.trainMode']);
  const accumulate = recipe['data.accumulate'];
  // One of so many, whose collectives do nothing.
  const ranks = { ...oneProcess, size: processes };
  const trainStep = new TrainStep({
    engine,
    student,
    teacher,
    optimizer,
    ema,
    distillation: distillationOf(recipe, teacher !== null),
    smoothing: recipe['augment.smoothing'],
    // Of what worth they are makes no difference.
    classWeights: recipe['data.classWeights'] === null ? null : Array<number>(classes).fill(1),
    mixing: mixingOf(recipe, 'student'),
    batchSize: batch,
    accumulate,
    imageSize,
    parallel: parallelOf(recipe, ranks, engine.adapter.software),
  });
  const micro = emptyBatch(batch, imageSize, recipe['augment.erasing'] > 0 ? 1 : 0);
  const images = Array.from({ length: shareOf(ranks, accumulate).count }, () => micro);
  return {
    trainStep,
    evaluator: new Evaluator(engine, student, sourceOf(emptyBatch(batch, imageSize, 0)), imageSize),
    teacherBytes,
    step: (number) => trainStep.run(images, number, 0),
  };
}

async function dryTeacher(
  engine: Engine,
  recipe: Recipe,
  specOf: (name: string) => string,
): Promise<Classifier | null> {
  const name = recipe['teacher.model'];
  if (recipe['distillation.type'] === 'none' || !name) return null;
  const teacher = createModel(engine, specOf(name));
  applyPrecision(teacher, recipe['model.precision']);
  teacher.requiresGrad_(false).eval();
  await engine.idle();
  return teacher;
}

function partsOf({ kept, keptBytes, peakBytes }: MemoryReport, teacher: number): TrainingPlan['parts'] {
  const of = (...labels: string[]): number => labels.reduce((sum, label) => sum + (kept[label] ?? 0), 0);
  const named = {
    weights: of('parameter', 'buffer') - teacher,
    gradients: of('gradient'),
    optimizer: of('optimizer', 'ema'),
    teacher,
    data: of('input', 'metrics'),
    // On their way to other ranks, and back.
    exchange: of('staging'),
    activations: peakBytes - keptBytes,
  };
  return { ...named, other: peakBytes - Object.values(named).reduce((sum, bytes) => sum + bytes, 0) };
}

const emptyBatch = (size: number, imageSize: number, boxes: number): Batch => ({
  epoch: 0,
  number: 0,
  size,
  images: new Float32Array(),
  bytes: new ImageBytes(size, imageSize, boxes, imagenetNormalization),
  labels: new Int32Array(size),
});

function sourceOf(batch: Batch): BatchSource {
  return {
    batchSize: batch.size,
    batchesPerEpoch: 1,
    waitSeconds: 0,
    nameOf: (index) => `image ${index}`,
    async *epoch() {
      yield await Promise.resolve(batch);
    },
  };
}
