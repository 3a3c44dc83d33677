/**
 * Mixup (Zhang et al. 2017) and CutMix (Yun et al. 2019) over a batch, as timm's Mixup in batch mode: one draw a batch,
 * the partner of image i is image B - 1 - i. Here are the draws, the soft targets, and a plain host version of the
 * mixing; training mixes on the GPU. Browser-safe.
 */
import { DeitError, PhiloxStream, Purpose } from '../../engine/index.ts';

export interface MixOptions {
  /** Alpha of mixup's Beta distribution; 0 turns mixup off. DeiT: 0.8. */
  mixupAlpha: number;
  /** Alpha of CutMix's Beta distribution; 0 turns CutMix off. DeiT: 1. */
  cutmixAlpha: number;
  /** Probability that a batch is mixed. DeiT: 1. */
  probability: number;
  /** Probability of CutMix where both are on. DeiT: 0.5. */
  switchProbability: number;
}

export const deitMixing: MixOptions = { mixupAlpha: 0.8, cutmixAlpha: 1, probability: 1, switchProbability: 0.5 };

/** Rows [top, bottom) and columns [left, right). */
export interface MixBox {
  top: number;
  bottom: number;
  left: number;
  right: number;
}

/** What to do with one batch. `lambda` is the weight of the image's own label (for CutMix: by the actual area of the box). */
export type MixParameters =
  { kind: 'none'; lambda: 1 } | { kind: 'mixup'; lambda: number } | { kind: 'cutmix'; lambda: number; box: MixBox };

/** The draws of a batch: a function of seed, epoch and the batch's number in the epoch. */
export const mixStream = (seed: number, epoch: number, batch: number): PhiloxStream =>
  new PhiloxStream(seed, Purpose.mix, epoch, batch);

export function drawMix(
  options: MixOptions,
  size: { width: number; height: number },
  draws: PhiloxStream,
): MixParameters {
  const { mixupAlpha, cutmixAlpha } = options;
  if ((mixupAlpha <= 0 && cutmixAlpha <= 0) || draws.uniform() >= options.probability)
    return { kind: 'none', lambda: 1 };
  const isCutmix = cutmixAlpha > 0 && (mixupAlpha <= 0 || draws.uniform() < options.switchProbability);
  if (!isCutmix) return { kind: 'mixup', lambda: draws.beta(mixupAlpha, mixupAlpha) };
  const { width, height } = size;
  const lambda = draws.beta(cutmixAlpha, cutmixAlpha);
  const centerY = draws.integer(height);
  const centerX = draws.integer(width);
  const box = cutmixBox(width, height, lambda, centerX, centerY);
  const area = (box.bottom - box.top) * (box.right - box.left);
  return { kind: 'cutmix', lambda: 1 - area / (width * height), box };
}

/** The box around a centre: sides sqrt(1 - lambda) of the image's, truncated, halved with truncation, clipped at the borders. */
export function cutmixBox(width: number, height: number, lambda: number, centerX: number, centerY: number): MixBox {
  const part = Math.sqrt(1 - lambda);
  const halfHeight = Math.floor(Math.trunc(height * part) / 2);
  const halfWidth = Math.floor(Math.trunc(width * part) / 2);
  return {
    top: Math.max(0, centerY - halfHeight),
    bottom: Math.min(height, centerY + halfHeight),
    left: Math.max(0, centerX - halfWidth),
    right: Math.min(width, centerX + halfWidth),
  };
}

/** Throws unless every image of a batch has a partner. */
export function checkMixBatch(batchSize: number): void {
  if (batchSize % 2 === 0) return;
  throw new DeitError('bad-config', 'Mixup and CutMix pair the images of a batch, so its size must be even.', {
    where: 'batch size',
    expected: 'an even number',
    found: String(batchSize),
    fix: 'Choose an even batch size, or turn mixing off (mixup 0, cutmix 0).',
  });
}

/**
 * Targets [B, K]: lambda s(y_i) + (1 - lambda) s(y_(B-1-i)), where s has 1 - smoothing + smoothing / K at the label and
 * smoothing / K elsewhere.
 */
export function softTargets(labels: Int32Array, classes: number, smoothing: number, lambda: number): Float32Array {
  const off = smoothing / classes;
  const targets = new Float32Array(labels.length * classes).fill(off);
  const batch = labels.length;
  for (let i = 0; i < batch; i++) {
    const [own, partner] = [labels[i], labels[batch - 1 - i]];
    for (const label of [own, partner]) {
      if (label < 0 || label >= classes) {
        throw new DeitError('bad-data', 'A label is outside the classes of the model.', {
          where: `image ${i} of the batch`,
          expected: `0 to ${classes - 1}`,
          found: String(label),
        });
      }
    }
    const on = 1 - smoothing;
    if (own === partner) targets[i * classes + own] = on + off;
    else {
      targets[i * classes + own] = lambda * on + off;
      targets[i * classes + partner] = (1 - lambda) * on + off;
    }
  }
  return targets;
}

/** Host version of the mixing of images [B, C, H, W], for reference and tests. Returns a new array. */
export function mixImages(
  images: Float32Array,
  shape: readonly [number, number, number, number],
  mix: MixParameters,
): Float32Array {
  const [batch, channels, height, width] = shape;
  const mixed = images.slice();
  if (mix.kind === 'none') return mixed;
  const size = channels * height * width;
  const box = mix.kind === 'cutmix' ? mix.box : { top: 0, bottom: height, left: 0, right: width };
  const own = mix.kind === 'cutmix' ? 0 : mix.lambda;
  for (let i = 0; i < batch; i++) {
    const partner = (batch - 1 - i) * size;
    for (let channel = 0; channel < channels; channel++) {
      for (let y = box.top; y < box.bottom; y++) {
        for (let x = box.left; x < box.right; x++) {
          const at = (channel * height + y) * width + x;
          mixed[i * size + at] = own * images[i * size + at] + (1 - own) * images[partner + at];
        }
      }
    }
  }
  return mixed;
}
