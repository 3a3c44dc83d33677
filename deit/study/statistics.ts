/** Means, spreads and intervals of differences: numbers to numbers. Distributions are jStat's. Browser-safe. */
import jstat from 'jstat';
import { PhiloxStream, Purpose } from '../../engine/index.ts';

const { jStat } = jstat;

export interface Spread {
  readonly mean: number;
  /** Standard deviation of the sample (n - 1); null of fewer than two values. */
  readonly deviation: number | null;
  readonly count: number;
}

/** Null of no values. */
export function spreadOf(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const deviation = values.length > 1 ? jStat.stdev(values, true) : null;
  return { mean: jStat.mean(values), deviation, count: values.length };
}

/** A difference of two rows with the interval that holds it in 95 of 100 cases. */
export interface Difference {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  /** What was drawn at random in it: trainings with other seeds, or held-out images of one training. */
  readonly over: 'seeds' | 'images';
  readonly count: number;
}

/** The paired t interval of at least two differences, one a seed; null of fewer. */
export function pairedDifference(differences: readonly number[]): Difference | null {
  const count = differences.length;
  if (count < 2) return null;
  const mean = jStat.mean(differences);
  const half = (jStat.studentt.inv(0.975, count - 1) * jStat.stdev(differences, true)) / Math.sqrt(count);
  return { mean, low: mean - half, high: mean + half, over: 'seeds', count };
}

/** Resamples: many for few images, and so many that large sets take seconds. */
const resamplesFor = (images: number): number => Math.max(1000, Math.min(10_000, Math.floor(4e6 / images)));

/**
 * The percentile bootstrap interval (Efron 1979) of the mean of values, one an image: of two predictors the difference of
 * right (1) and wrong (0), so that both are drawn with the same images. The draws are always the same. Null of no values.
 */
export function bootstrapDifference(
  values: readonly number[],
  resamples = resamplesFor(values.length),
): Difference | null {
  const count = values.length;
  if (count === 0) return null;
  const stream = new PhiloxStream(0, Purpose.sample);
  const means = Array.from({ length: resamples }, () => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += values[Math.min(count - 1, Math.floor(stream.uniform() * count))];
    return sum / count;
  });
  const [low, high] = [0.025, 0.975].map((k) => jStat.percentile(means, k));
  return { mean: jStat.mean(values), low, high, over: 'images', count };
}

/** What an interval shows. */
export type Verdict = 'higher' | 'lower' | 'no difference shown';

export const verdictOf = ({ low, high }: Difference): Verdict =>
  low > 0 ? 'higher' : high < 0 ? 'lower' : 'no difference shown';
