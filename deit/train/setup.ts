/** From a recipe to the parts of a training: optimizer, schedule, length, mixing. Browser-safe. */
import { DeitError, expectF16 } from '../../engine/index.ts';
import { AdamW, GradScaler, SGD, decayGroups } from '../../nn/index.ts';
import type { Module, Optimizer, Schedule } from '../../nn/index.ts';
import type { Engine, TensorEngine } from '../../engine/index.ts';
import type { Classifier, Precision } from '../models/classifier.ts';
import { VisionTransformer } from '../models/deit.ts';
import { createModel } from '../models/registry.ts';
import { countClasses, sampleCount } from '../data/index.ts';
import type { Dataset, MixOptions } from '../data/index.ts';
import { parseClassWeights } from '../class-weights.ts';
import type { Distillation } from '../distillation.ts';
import type { Communicator } from '../parallel/communicator.ts';
import type { Recipe } from '../recipe/settings.ts';
import type { ParallelOptions } from './step.ts';
import type { Length } from './train-steps.ts';

/** Who is being trained. */
export type Role = 'teacher' | 'student';

/** Images in one micro-batch. */
export function microBatch(recipe: Recipe): number {
  const [batch, accumulate] = [recipe['data.batchSize'], recipe['data.accumulate']];
  if (batch % accumulate === 0) return batch / accumulate;
  throw new DeitError('bad-config', 'The batch cannot be divided into the micro-batches asked for.', {
    where: 'data.batchSize, data.accumulate',
    found: `${batch} and ${accumulate}`,
    fix: 'choose a divisor of the batch size',
  });
}

export function distillationOf(recipe: Recipe, hasTeacher: boolean): Distillation {
  return {
    type: hasTeacher ? recipe['distillation.type'] : 'none',
    alpha: recipe['distillation.alpha'],
    tau: recipe['distillation.tau'],
    scaling: recipe['distillation.scaling'],
  };
}

/** Weights of the classes in the loss; null: all alike. Throws `bad-config`. */
export function classWeightsOf(recipe: Recipe, train: Dataset): number[] | null {
  const text = recipe['data.classWeights'];
  return text === null ? null : parseClassWeights(text, train.classes, countClasses(train));
}

/** Mixup and cutmix of the student's batches; a teacher trained along the way goes without. */
export function mixingOf(recipe: Recipe, role: Role): MixOptions | null {
  const mixing: MixOptions = {
    mixupAlpha: recipe['augment.mixup'],
    cutmixAlpha: recipe['augment.cutmix'],
    probability: recipe['augment.mixProbability'],
    switchProbability: recipe['augment.mixSwitch'],
  };
  return role === 'student' && (mixing.mixupAlpha > 0 || mixing.cutmixAlpha > 0) ? mixing : null;
}

/** The model to be trained, with new weights. */
export function studentOf(engine: Engine, recipe: Recipe, spec: string): Classifier {
  const model = createModel(engine, spec, { dropPath: recipe['model.dropPath'] });
  applyPrecision(model, recipe['model.precision']);
  if (model instanceof VisionTransformer) model.recompute = recipe['model.recompute'];
  else if (recipe['model.recompute']) {
    throw new DeitError('bad-config', 'Only a DeiT can compute its activations once more.', {
      where: 'model.recompute',
      found: spec,
      fix: 'switch it off, or split the batch with data.accumulate',
    });
  }
  return model;
}

/** Has a model compute in this precision. Throws `feature-missing` where the adapter has no f16. */
export function applyPrecision(model: Classifier, precision: Precision): void {
  if (precision === 'f16') expectF16(engineOf(model), 'precision f16');
  model.precision = precision;
}

/** Loss scaling for a model that computes in f16; null for one in f32. */
export const scalerFor = (model: Classifier): GradScaler | null =>
  model.precision === 'f16' ? new GradScaler(engineOf(model)) : null;

const engineOf = (model: Module): TensorEngine => model.parameters()[0].engine;

/** Freezes what the recipe does not train, and packs the rest into an optimizer. */
export function optimizerOf(recipe: Recipe, role: Role, model: Classifier): Optimizer {
  // What travels as f16 wants to be scaled into its range too, on however many ranks the run goes on.
  const scaler = recipe['parallel.wire'] === 'f16' ? new GradScaler(engineOf(model)) : scalerFor(model);
  const common = { skipNonFinite: true, gradientScale: 1 / recipe['data.accumulate'], scaler };
  if (role === 'teacher') {
    // The original teacher was trained by SGD; its momentum and clipping are not published.
    const groups = decayGroups(model.namedParameters(), recipe['teacher.weightDecay']);
    return new SGD(groups, { ...common, momentum: 0.9, nesterov: true, maxNorm: 5 });
  }
  for (const [name, parameter] of model.namedParameters()) parameter.requiresGrad_(isTrained(recipe, name));
  const rule = recipe['optim.decayDistToken'] ? 'deit' : 'timm';
  const groups = decayGroups(model.namedParameters(), recipe['optim.weightDecay'], rule);
  const settings = { ...common, maxNorm: recipe['optim.clip'] };
  if (recipe['optim.name'] === 'sgd') return new SGD(groups, { ...settings, momentum: recipe['optim.momentum'] });
  const betas = [recipe['optim.beta1'], recipe['optim.beta2']] as const;
  return new AdamW(groups, { ...settings, betas, eps: recipe['optim.eps'] });
}

function isTrained(recipe: Recipe, name: string): boolean {
  // Without a teacher nothing reaches the distillation head; PyTorch's optimizers skip a parameter without gradient. In
  // evaluation mode the average of the heads is trained.
  const isIdle = recipe['distillation.type'] === 'none' && recipe['run.trainMode'];
  if (isIdle && name.startsWith('head_dist')) return false;
  if (recipe['optim.headOnly'] && !name.startsWith('head')) return false;
  if (isBelow(name, recipe['optim.freezeBlocks'])) return false;
  const frozen = recipe['optim.freeze'].split(',').map((prefix) => prefix.trim());
  return !frozen.some((prefix) => prefix !== '' && name.startsWith(prefix));
}

/** Whether a parameter of a DeiT belongs to its embedding or its first `blocks` blocks (no block frozen, nothing is). */
function isBelow(name: string, blocks: number): boolean {
  if (blocks === 0) return false;
  const block = /^blocks\.(\d+)\./.exec(name)?.[1];
  return block === undefined ? /^(patch_embed|cls_token|dist_token|pos_embed)/.test(name) : Number(block) < blocks;
}

/** Bytes of gradients that leave at a time on GPUs: what DistributedDataParallel of PyTorch has found to be enough. */
const GPU_BUCKET = 25 * 2 ** 20;

/** How the ranks of a run exchange gradients. Where the processor computes, moving them meanwhile would only take turns with it. */
export function parallelOf(recipe: Recipe, ranks: Communicator, software: boolean): ParallelOptions {
  const megabytes = recipe['parallel.bucketMB'];
  const chosen = megabytes === 0 ? Infinity : (megabytes ?? 0) * 2 ** 20;
  const bucketBytes = megabytes === null ? (software ? Infinity : GPU_BUCKET) : chosen;
  return { ranks, bucketBytes, wire: recipe['parallel.wire'] };
}

/** What `optim.lr` is multiplied by: DeiT's rule is in proportion to the batch. */
export const lrScale = (recipe: Recipe): number => (recipe['optim.scaleLr'] ? recipe['data.batchSize'] / 512 : 1);

/** The learning-rate curve of a training of `epochs` epochs (whole or not). */
export function scheduleOf(recipe: Recipe, role: Role, epochs: number): Schedule {
  const batch = recipe['data.batchSize'];
  if (role === 'teacher') {
    const base = (recipe['teacher.lr'] * batch) / 256;
    return { base, epochs, warmupEpochs: Math.min(0.1 * epochs, 5), warmupLr: base / 10, minLr: 0, per: 'step' };
  }
  return {
    base: recipe['optim.lr'] * lrScale(recipe),
    epochs,
    warmupEpochs: recipe['schedule.warmupEpochs'],
    warmupLr: recipe['schedule.warmupLr'],
    minLr: recipe['schedule.minLr'],
    per: recipe['schedule.per'],
  };
}

/** Steps and seconds of a training that begins `elapsed` seconds into the run. With a time limit each role has its share. */
export function lengthOf(recipe: Recipe, role: Role, stepsPerEpoch: number, elapsed: number): Length {
  const share = recipe['teacher.share'];
  const student = recipe['schedule.steps'] ?? Math.round(recipe['schedule.epochs'] * stepsPerEpoch);
  const steps = Math.max(1, role === 'teacher' ? Math.round((student * share) / (1 - share)) : student);
  const minutes = recipe['schedule.minutes'];
  if (minutes === null) return { steps, seconds: null };
  return { steps, seconds: role === 'teacher' ? 60 * minutes * share : 60 * minutes - elapsed };
}

/**
 * Says so where the epochs of a small set would leave out more than a tenth of their samples, since these are no multiple of
 * the batch, and which batch leaves out less.
 */
export function leftOutOfEpochs(recipe: Recipe, images: number): string[] {
  const [batch, parts] = [recipe['data.batchSize'], recipe['data.accumulate']];
  const samples = sampleCount({ length: images, shuffle: true, repeats: recipe['augment.repeats'] });
  const left = samples % batch;
  if (samples < batch || left <= samples / 10) return [];
  // Mixing pairs the images of a micro-batch.
  const step = mixingOf(recipe, 'student') ? 2 * parts : parts;
  let better = Math.floor(batch / step) * step;
  while (better > step && samples % better > samples / 10) better -= step;
  return [
    `an epoch uses ${samples - left} of ${samples} images, whole batches of ${batch} alone: with --set data.batchSize=${better} it uses ${samples - (samples % better)}`,
  ];
}
