/** Colour jitter as torchvision's ColorJitter: random factors, in random order. Browser-safe. */
import type { PhiloxStream } from '../../engine/index.ts';
import type { RgbImage } from './dataset.ts';
import { adjustBrightness, adjustColor, adjustContrast, adjustHue } from './pixel-ops.ts';

/** Factors are drawn from [max(0, 1 - x), 1 + x]; the hue shift (of a full turn) from [-hue, hue], hue at most 0.5. */
export interface ColorJitter {
  brightness: number;
  contrast: number;
  saturation: number;
  hue: number;
}

/** timm's single number: brightness, contrast and saturation alike, no hue. */
export const equalJitter = (strength: number): ColorJitter => ({
  brightness: strength,
  contrast: strength,
  saturation: strength,
  hue: 0,
});

export function jitterColors(image: RgbImage, jitter: ColorJitter, draws: PhiloxStream): RgbImage {
  const order = draws.permutation(4);
  const factor = (strength: number): number => draws.uniform(Math.max(0, 1 - strength), 1 + strength);
  // Drawn before use and in a fixed order, so that the number of draws does not depend on the order of the operations.
  const brightness = factor(jitter.brightness);
  const contrast = factor(jitter.contrast);
  const saturation = factor(jitter.saturation);
  const hue = draws.uniform(-jitter.hue, jitter.hue);
  const steps = [
    (i: RgbImage): RgbImage => (jitter.brightness > 0 ? adjustBrightness(i, brightness) : i),
    (i: RgbImage): RgbImage => (jitter.contrast > 0 ? adjustContrast(i, contrast) : i),
    (i: RgbImage): RgbImage => (jitter.saturation > 0 ? adjustColor(i, saturation) : i),
    (i: RgbImage): RgbImage => (jitter.hue > 0 ? adjustHue(i, hue) : i),
  ];
  return order.reduce((result, step) => steps[step](result), image);
}
