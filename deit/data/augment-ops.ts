/**
 * The operations of RandAugment and AutoAugment, each with its argument as a function of a level from 0 to 10
 * (source: timm, data/auto_augment.py). "Increasing" operations get stronger with the level. Browser-safe.
 */
import type { PhiloxStream } from '../../engine/index.ts';
import { affine, rotate } from './affine.ts';
import type { Rgb } from './affine.ts';
import type { RgbImage } from './dataset.ts';
import {
  adjustBrightness,
  adjustColor,
  adjustContrast,
  adjustSharpness,
  autoContrast,
  equalize,
  invert,
  posterize,
  solarize,
  solarizeAdd,
} from './pixel-ops.ts';
import type { Interpolation } from './resize.ts';
import { roundHalfEven } from './transforms.ts';

/** What the geometric operations need beside their argument. */
export interface AugmentContext {
  /** Colour of what comes from outside the image. */
  fill: Rgb;
  interpolation: Interpolation;
}

/** The fill colour that timm derives from the normalization mean: (124, 116, 104) for ImageNet. */
export function fillColor(mean: readonly [number, number, number]): Rgb {
  const level = (m: number): number => Math.min(255, roundHalfEven(255 * m));
  return [level(mean[0]), level(mean[1]), level(mean[2])];
}

export interface AugmentOp {
  /** The argument at a level; draws the sign where the operation has one. Operations without an argument ignore it. */
  argument(level: number, draws: PhiloxStream): number;
  apply(image: RgbImage, argument: number, context: AugmentContext): RgbImage;
}

const signed = (value: number, draws: PhiloxStream): number => (draws.uniform() > 0.5 ? -value : value);
const fewerBits = (level: number): number => Math.trunc((level / 10) * 4);
const lowerThreshold = (level: number): number => Math.min(256, Math.trunc((level / 10) * 256));

const without = (apply: (image: RgbImage) => RgbImage): AugmentOp => ({ argument: () => 0, apply });
const posterizeAt = (bits: (level: number) => number): AugmentOp => ({ argument: bits, apply: posterize });
const solarizeAt = (threshold: (level: number) => number): AugmentOp => ({ argument: threshold, apply: solarize });
const enhance = (apply: AugmentOp['apply']): AugmentOp => ({
  argument: (level) => (level / 10) * 1.8 + 0.1,
  apply,
});
const enhanceIncreasing = (apply: AugmentOp['apply']): AugmentOp => ({
  argument: (level, draws) => Math.max(0.1, 1 + signed((level / 10) * 0.9, draws)),
  apply,
});
const geometric = (range: number, apply: AugmentOp['apply']): AugmentOp => ({
  argument: (level, draws) => signed((level / 10) * range, draws),
  apply,
});

export const augmentOps = {
  AutoContrast: without(autoContrast),
  Equalize: without(equalize),
  Invert: without(invert),
  Rotate: geometric(30, (image, degrees, { interpolation, fill }) => rotate(image, degrees, interpolation, fill)),
  Posterize: posterizeAt(fewerBits),
  PosterizeIncreasing: posterizeAt((level) => 4 - fewerBits(level)),
  PosterizeOriginal: posterizeAt((level) => fewerBits(level) + 4),
  Solarize: solarizeAt(lowerThreshold),
  SolarizeIncreasing: solarizeAt((level) => 256 - lowerThreshold(level)),
  SolarizeAdd: { argument: (level) => Math.min(128, Math.trunc((level / 10) * 110)), apply: solarizeAdd },
  Color: enhance(adjustColor),
  ColorIncreasing: enhanceIncreasing(adjustColor),
  Contrast: enhance(adjustContrast),
  ContrastIncreasing: enhanceIncreasing(adjustContrast),
  Brightness: enhance(adjustBrightness),
  BrightnessIncreasing: enhanceIncreasing(adjustBrightness),
  Sharpness: enhance(adjustSharpness),
  SharpnessIncreasing: enhanceIncreasing(adjustSharpness),
  ShearX: geometric(0.3, (image, factor, { interpolation, fill }) =>
    affine(image, [1, factor, 0, 0, 1, 0], interpolation, fill),
  ),
  ShearY: geometric(0.3, (image, factor, { interpolation, fill }) =>
    affine(image, [1, 0, 0, factor, 1, 0], interpolation, fill),
  ),
  TranslateXRel: geometric(0.45, (image, part, { interpolation, fill }) =>
    affine(image, [1, 0, part * image.width, 0, 1, 0], interpolation, fill),
  ),
  TranslateYRel: geometric(0.45, (image, part, { interpolation, fill }) =>
    affine(image, [1, 0, 0, 0, 1, part * image.height], interpolation, fill),
  ),
} as const satisfies Record<string, AugmentOp>;

export type AugmentOpName = keyof typeof augmentOps;

/** Strength of an operation: a level, its spread, and the level's upper bound. */
export interface Magnitude {
  level: number;
  /** Standard deviation of the level; Infinity: uniform from 0 to `level`. */
  std: number;
  max: number;
}

/** Applies an operation with the given probability at a drawn level. */
export function applyOp(
  name: AugmentOpName,
  probability: number,
  magnitude: Magnitude,
  image: RgbImage,
  context: AugmentContext,
  draws: PhiloxStream,
): RgbImage {
  if (probability < 1 && draws.uniform() > probability) return image;
  const op: AugmentOp = augmentOps[name];
  return op.apply(image, op.argument(drawLevel(magnitude, draws), draws), context);
}

/** The level that one application uses. */
export function drawLevel({ level, std, max }: Magnitude, draws: PhiloxStream): number {
  const drawn = std === 0 ? level : std === Infinity ? draws.uniform(0, level) : draws.normal(level, std);
  return Math.max(0, Math.min(max, drawn));
}
