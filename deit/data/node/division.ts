/** Dividing images into train and val by class and seed, where the source has no division of its own. Node only. */
import { DeitError, PhiloxStream, Purpose } from '../../../engine/index.ts';
import { byClass } from '../sampler.ts';

export interface SplitOptions {
  /** Part of every class that goes to val. Default 0.2. */
  valFraction?: number;
  /** Seed of the choice. Default 0. */
  seed?: number;
  /** Divides every class into this many folds instead, of which `fold` (from 1) goes to val. Null: by `valFraction`. */
  folds?: number | null;
  fold?: number;
}

export interface Division {
  /** Indices, by class and within a class in their order. */
  train: Uint32Array;
  val: Uint32Array;
}

/**
 * Divides images, given by their classes. Of each class `valFraction` (rounded, at least one and not all) is drawn by the
 * seed; or every class is cut into `folds` parts, equal to one image, each image in exactly one, of which `fold` goes to
 * val. A class of one image cannot be divided.
 */
export function divide(labels: Uint32Array, classes: readonly string[], options: SplitOptions): Division {
  const { seed = 0 } = options;
  checkOptions(options);
  const members = byClass(labels, classes.length);
  const small = classes.findIndex((_, label) => members[label].length < 2);
  if (small >= 0) {
    throw new DeitError('bad-data', 'A class has too few images to hold some out.', {
      where: classes[small],
      expected: 'at least 2 images',
      found: `${members[small].length}`,
      fix: 'Add images, or give a val folder of its own.',
    });
  }
  const isHeldOut = new Uint8Array(labels.length);
  for (const [label, own] of members.entries()) {
    const order = new PhiloxStream(seed, Purpose.sample, 0, label).permutation(own.length);
    const [from, to] = heldOutRange(own.length, label, options);
    for (let i = from; i < to; i++) isHeldOut[own[order[i]]] = 1;
  }
  const count = isHeldOut.reduce((sum, one) => sum + one, 0);
  if (count === 0) {
    throw new DeitError('bad-data', 'There are too few images for so many folds: this one is empty.', {
      where: 'data.folds',
      found: `${options.folds} folds of ${labels.length} images in ${classes.length} classes`,
      fix: 'Choose fewer folds.',
    });
  }
  const [train, val] = [new Uint32Array(labels.length - count), new Uint32Array(count)];
  let [t, v] = [0, 0];
  for (const own of members) for (const index of own) if (isHeldOut[index]) val[v++] = index; else train[t++] = index; // prettier-ignore
  return { train, val };
}

/** Which places of a class's random order are held out: [from, to). */
function heldOutRange(count: number, label: number, options: SplitOptions): [number, number] {
  const { valFraction = 0.2, folds = null, fold = 1 } = options;
  if (folds === null) return [0, Math.min(count - 1, Math.max(1, Math.round(valFraction * count)))];
  // Begun with another fold for each class, so that the images left over by the division do not all go to the first ones.
  const part = (fold - 1 + label) % folds;
  return [Math.floor((part * count) / folds), Math.floor(((part + 1) * count) / folds)];
}

function checkOptions({ valFraction = 0.2, folds = null, fold = 1 }: SplitOptions): void {
  if (!(valFraction > 0 && valFraction < 1)) {
    throw new DeitError('bad-config', 'The part of the images that is held out is out of range.', {
      where: 'valFraction',
      expected: 'above 0 and below 1',
      found: String(valFraction),
    });
  }
  if (folds === null) return;
  const isWhole = Number.isInteger(folds) && Number.isInteger(fold);
  if (isWhole && folds >= 2 && fold >= 1 && fold <= folds) return;
  throw new DeitError('bad-config', 'There is no such fold.', {
    where: 'data.folds, data.fold',
    expected: 'at least 2 folds, and a fold from 1 to their number',
    found: `fold ${fold} of ${folds}`,
  });
}
