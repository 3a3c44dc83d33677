/**
 * From a picture to the normalized floats that a model sees. A pipeline is described by plain data, so that it can be
 * saved with a run and sent to worker threads; `makeTransform` turns the description into a function. Browser-safe.
 */
import { DeitError } from '../../engine/index.ts';
import type { ErasedBox, PhiloxStream } from '../../engine/index.ts';
import { fillColor } from './augment-ops.ts';
import { jitterColors } from './color-jitter.ts';
import type { ColorJitter } from './color-jitter.ts';
import { crop } from './crop.ts';
import type { RgbImage } from './dataset.ts';
import { applyAugment, parseAugment } from './rand-augment.ts';
import { deitErasing, drawErasing, fillBoxes } from './random-erasing.ts';
import type { RandomErasing } from './random-erasing.ts';
import { resize } from './resize.ts';
import type { Interpolation } from './resize.ts';
import {
  evaluationCrop,
  flipHorizontal,
  imagenetNormalization,
  isSmallAndReady,
  normalizationTables,
  randomPaddedCrop,
  randomResizedRect,
  writeChw,
} from './transforms.ts';
import type { EvaluationOptions, Normalization } from './transforms.ts';
import { inKernelMemory, keptImage } from './wasm/memory.ts';

/** Evaluation: resize, centre crop, normalize. No draws. */
export interface EvaluationPipeline extends EvaluationOptions {
  kind: 'evaluation';
  normalization: Normalization;
}

/** Training: crop, flip, augmentation policy or colour jitter, normalize, erase. */
export interface TrainingPipeline {
  kind: 'training';
  imageSize: number;
  /**
   * `resized`: RandomResizedCrop. `padded`: RandomCrop with `padding` black pixels around. `auto`: padded for pictures of at
   * most 32 pixels that already have the model's size (CIFAR at 32), as DeiT does; else resized.
   */
  crop: 'auto' | 'resized' | 'padded';
  padding: number;
  /** Range of the part of the area that RandomResizedCrop keeps, and of its aspect (width / height). */
  scale: readonly [number, number];
  ratio: readonly [number, number];
  interpolation: Interpolation;
  flipProbability: number;
  /** timm's configuration string, or null for none. */
  autoAugment: string | null;
  /** Used only where there is no augmentation policy, as in timm. */
  colorJitter: ColorJitter | null;
  erasing: RandomErasing | null;
  normalization: Normalization;
}

export type Pipeline = EvaluationPipeline | TrainingPipeline;

/** Evaluation with DeiT's defaults (shorter side to imageSize / 0.875, bicubic), save for what is given. */
export const evaluationPipeline = (
  options: Partial<EvaluationPipeline> & { imageSize: number },
): EvaluationPipeline => ({
  cropPct: 0.875,
  interpolation: 'bicubic',
  resizeMode: 'shorter',
  normalization: imagenetNormalization,
  ...options,
  kind: 'evaluation',
});

/** Training with DeiT's recipe, save for what is given. */
export const trainingPipeline = (options: Partial<TrainingPipeline> & { imageSize: number }): TrainingPipeline => ({
  crop: 'auto',
  padding: 4,
  scale: [0.08, 1],
  ratio: [3 / 4, 4 / 3],
  interpolation: 'bicubic',
  flipProbability: 0.5,
  autoAugment: 'rand-m9-mstd0.5-inc1',
  colorJitter: null,
  erasing: deitErasing,
  normalization: imagenetNormalization,
  ...options,
  kind: 'training',
});

/** Writes the planes [3, imageSize, imageSize] of an image into `out` from `offset` on. */
export type Transform = (image: RgbImage, draws: PhiloxStream, out: Float32Array, offset: number) => void;

export function makeTransform(pipeline: Pipeline): Transform {
  const show = makePicture(pipeline);
  const tables = normalizationTables(pipeline.normalization);
  const { imageSize } = pipeline;
  return (image, draws, out, offset) => {
    inKernelMemory(() => writeChw(show(image, draws), tables, out, offset));
    fillBoxes(out, offset, imageSize, imageSize, erasedBoxes(pipeline, draws));
  };
}

/**
 * The same up to normalization and erasing: writes the bytes [imageSize, imageSize, 3] into `out` from `offset` on, and gives the
 * boxes that are still to be erased.
 */
export type ByteTransform = (
  image: RgbImage,
  draws: PhiloxStream,
  out: Uint8Array,
  offset: number,
) => readonly ErasedBox[];

export function makeByteTransform(pipeline: Pipeline): ByteTransform {
  const show = makePicture(pipeline);
  return (image, draws, out, offset) => {
    inKernelMemory(() => out.set(show(image, draws).data, offset));
    return erasedBoxes(pipeline, draws);
  };
}

/** Boxes that are erased of an image at most. */
export const mostBoxes = (pipeline: Pipeline): number =>
  pipeline.kind === 'training' && pipeline.erasing && pipeline.erasing.probability > 0 ? pipeline.erasing.count : 0;

const erasedBoxes = (pipeline: Pipeline, draws: PhiloxStream): readonly ErasedBox[] =>
  pipeline.kind === 'training' && pipeline.erasing
    ? drawErasing(pipeline.imageSize, pipeline.imageSize, pipeline.erasing, draws)
    : [];

/** All that comes before normalization. */
function makePicture(pipeline: Pipeline): (image: RgbImage, draws: PhiloxStream) => RgbImage {
  checkPipeline(pipeline);
  return pipeline.kind === 'training' ? makeAugment(pipeline) : (image) => evaluationCrop(image, pipeline);
}

/** The part of a training pipeline that works on pictures: crop, flip, policy or jitter. */
export function makeAugment(pipeline: TrainingPipeline): (image: RgbImage, draws: PhiloxStream) => RgbImage {
  const policy = pipeline.autoAugment === null ? null : parseAugment(pipeline.autoAugment);
  const context = { fill: fillColor(pipeline.normalization.mean), interpolation: pipeline.interpolation };
  return (image, draws) =>
    keptImage(() => {
      const cropped = cropRandomly(image, pipeline, draws);
      const flipped = draws.uniform() < pipeline.flipProbability ? flipHorizontal(cropped) : cropped;
      if (policy) return applyAugment(policy, flipped, context, draws);
      return pipeline.colorJitter ? jitterColors(flipped, pipeline.colorJitter, draws) : flipped;
    });
}

function cropRandomly(image: RgbImage, pipeline: TrainingPipeline, draws: PhiloxStream): RgbImage {
  const { imageSize } = pipeline;
  const isPadded = pipeline.crop === 'padded' || (pipeline.crop === 'auto' && isSmallAndReady(image, imageSize));
  if (isPadded) return randomPaddedCrop(image, imageSize, pipeline.padding, draws);
  const rect = randomResizedRect(image.width, image.height, pipeline.scale, pipeline.ratio, draws);
  return resize(crop(image, rect), imageSize, imageSize, pipeline.interpolation);
}

function checkPipeline(pipeline: Pipeline): void {
  const wrong = (name: string, expected: string, found: unknown): DeitError =>
    new DeitError('bad-config', 'An option of the image pipeline cannot be used.', {
      where: name,
      expected,
      found: JSON.stringify(found),
    });
  const { imageSize, normalization } = pipeline;
  if (!Number.isInteger(imageSize) || imageSize < 1 || imageSize > 4096) {
    throw wrong('imageSize', 'an integer from 1 to 4096', imageSize);
  }
  if (!normalization.std.every((std) => std > 0)) throw wrong('std', 'three positive numbers', normalization.std);
  if (pipeline.kind === 'evaluation') {
    if (!(pipeline.cropPct > 0 && pipeline.cropPct <= 1))
      throw wrong('cropPct', 'above 0, at most 1', pipeline.cropPct);
    return;
  }
  const { scale, ratio, flipProbability, erasing, padding } = pipeline;
  if (!(scale[0] > 0 && scale[0] <= scale[1] && scale[1] <= 1)) {
    throw wrong('scale', 'two numbers above 0 and at most 1, the smaller first', scale);
  }
  if (!(ratio[0] > 0 && ratio[0] <= ratio[1])) throw wrong('ratio', 'two positive numbers, the smaller first', ratio);
  if (!(flipProbability >= 0 && flipProbability <= 1)) throw wrong('flipProbability', '0 to 1', flipProbability);
  if (!Number.isInteger(padding) || padding < 0) throw wrong('padding', 'an integer of at least 0', padding);
  if (erasing && !(erasing.probability >= 0 && erasing.probability <= 1)) {
    throw wrong('erasing.probability', '0 to 1', erasing.probability);
  }
}
