/**
 * Which images an epoch shows, in which order and in which batches: plain shuffling, or repeated augmentation (Berman et
 * al. 2019, Hoffer et al. 2020) as DeiT's RASampler. A function of (seed, epoch) alone, so a run can be resumed at any
 * batch. Browser-safe.
 */
import { DeitError, PhiloxStream, Purpose } from '../../engine/index.ts';

/** A showing of an image: repeated augmentation and balanced sampling show it several times, each time augmented differently. */
export interface Sample {
  index: number;
  /** 0 for the first showing of the image in this epoch. */
  copy: number;
}

export interface SamplerOptions {
  /** Number of images of the data set. */
  length: number;
  /** Off for evaluation: images in order. */
  shuffle: boolean;
  /** Showings of an image in a row; 1: no repeated augmentation. DeiT: 3. */
  repeats?: number;
  /** Number of processes that share an epoch, and which of them this is. */
  processes?: number;
  rank?: number;
  /** With shuffling: class of each image, of which each is drawn equally often, images being drawn with replacement. */
  balance?: { readonly labels: Uint32Array; readonly classes: number } | undefined;
  /** With repeated augmentation, an epoch has the largest multiple of this many samples that the set allows. DeiT: 256. */
  roundTo?: number;
}

/** A random order of 0 .. length - 1, or that order itself. */
export function epochOrder(length: number, shuffle: boolean, seed: number, epoch: number): Uint32Array {
  if (!shuffle) return Uint32Array.from({ length }, (_, i) => i);
  return new PhiloxStream(seed, Purpose.shuffle, epoch).permutation(length);
}

/**
 * As many images as there are, drawn with replacement: first a class, then one of its images, so that every class that has images
 * is equally likely. PyTorch's `WeightedRandomSampler` with the weight 1 / images of its class for each image.
 */
export function balancedOrder(labels: Uint32Array, classes: number, seed: number, epoch: number): Uint32Array {
  const members = byClass(labels, classes).filter(({ length }) => length > 0);
  const draws = new PhiloxStream(seed, Purpose.shuffle, epoch);
  return Uint32Array.from(labels, () => {
    const own = members[draws.integer(members.length)];
    return own[draws.integer(own.length)];
  });
}

/** Indices of each class, in order. */
export function byClass(labels: Uint32Array, classes: number): Uint32Array[] {
  const counts = new Uint32Array(classes);
  for (const label of labels) counts[label]++;
  const members = Array.from(counts, (count) => new Uint32Array(count));
  const at = new Uint32Array(classes);
  labels.forEach((label, index) => (members[label][at[label]++] = index));
  return members;
}

/** The samples of one process in one epoch, in order, worked out when asked for. */
export class EpochSamples {
  readonly length: number;
  /** How often the image at a place of the order came before it; null where none comes twice. */
  private readonly earlier: Uint32Array | null;

  /** `order` is the epoch's order of all images. */
  constructor(
    private readonly order: Uint32Array,
    private readonly options: SamplerOptions,
  ) {
    this.length = sampleCount({ ...options, length: order.length });
    this.earlier = options.balance ? earlierShowings(order) : null;
  }

  at(position: number): Sample {
    const { repeats = 1, processes = 1, rank = 0 } = this.options;
    // Past the end of the list of repeated images it wraps to its beginning.
    const place = (rank + position * processes) % (this.order.length * repeats);
    const at = Math.floor(place / repeats);
    return { index: this.order[at], copy: (this.earlier?.[at] ?? 0) * repeats + (place % repeats) };
  }

  /** Samples [from, to), cut at the end. */
  slice(from: number, to: number): Sample[] {
    return Array.from({ length: Math.max(0, Math.min(to, this.length) - from) }, (_, i) => this.at(from + i));
  }
}

function earlierShowings(order: Uint32Array): Uint32Array {
  const shown = new Uint32Array(order.length);
  return order.map((index) => shown[index]++);
}

/** The samples of an epoch by seed. */
export function epochSamples(options: SamplerOptions, seed: number, epoch: number): EpochSamples {
  const { length, shuffle, balance } = options;
  const isBalanced = shuffle && balance;
  const order = isBalanced ? balancedOrder(balance.labels, balance.classes, seed, epoch) : epochOrder(length, shuffle, seed, epoch); // prettier-ignore
  return new EpochSamples(order, options);
}

/**
 * Samples of one process in an epoch. Without repeats every process gets its share (the set padded by wrapping, so that all
 * shares are equal). With repeats the rules are DeiT's: about as many samples as images, so about 1 / repeats of the images
 * are seen, and the copies of an image go to consecutive processes.
 */
export function sampleCount(options: SamplerOptions): number {
  const { length, repeats = 1, processes = 1, rank = 0, roundTo = 256 } = options;
  const isWhole = [repeats, processes, roundTo].every((n) => Number.isInteger(n) && n >= 1);
  if (!isWhole || !Number.isInteger(rank) || rank < 0 || rank >= processes || repeats > 16) {
    throw new DeitError('bad-config', 'The sampler cannot work with these numbers.', {
      where: 'sampler',
      expected: 'repeats from 1 to 16, at least 1 process, a rank below the number of processes',
      found: `repeats ${repeats}, processes ${processes}, rank ${rank}, rounding to ${roundTo}`,
    });
  }
  if (repeats === 1) return Math.ceil(length / processes);
  const kept = Math.floor((Math.floor(length / roundTo) * roundTo) / processes);
  if (kept > 0) return kept;
  throw new DeitError('bad-config', 'An epoch of repeated augmentation would have no samples.', {
    where: `${length} images rounded down to a multiple of ${roundTo}, for ${processes} processes`,
    expected: `at least ${Math.max(roundTo, processes)} images`,
    found: `${length} images`,
    fix: 'Turn repeated augmentation off (augment.repeats=1), or use more images.',
  });
}

/** Number of batches of `samples` samples. */
export const batchCount = (samples: number, batchSize: number, dropLast: boolean): number =>
  dropLast ? Math.floor(samples / batchSize) : Math.ceil(samples / batchSize);

/** The draws of one showing of one image: a function of (seed, epoch, image, copy). */
export const sampleStream = (seed: number, epoch: number, { index, copy }: Sample): PhiloxStream => {
  // 2^28 images and 16 copies share the 32 bits of a stream number; above 2^17 epochs of a step number are more copies.
  const step = Math.floor(copy / 16) * 2 ** 17 + epoch;
  return new PhiloxStream(seed, Purpose.augment, step, ((copy % 16) * 2 ** 28 + index) >>> 0);
};
