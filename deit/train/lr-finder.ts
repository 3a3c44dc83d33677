/**
 * The learning-rate range test (Smith 2017, arXiv 1506.01186) as Lightning's `lr_find` does it: the rate grows exponentially from
 * step to step, the loss is smoothed, and the suggestion is the rate at which it falls fastest. Pure.
 */
import { DeitError } from '../../engine/index.ts';

export interface LrRange {
  readonly min: number;
  readonly max: number;
  readonly steps: number;
}

/** One step of the test. */
export interface LrPoint {
  readonly lr: number;
  readonly loss: number;
  /** Exponential moving average of the losses so far, without the pull of zero. */
  readonly smoothed: number;
}

export interface LrSuggestion {
  readonly points: readonly LrPoint[];
  /** Where the smoothed loss falls fastest; null where it never falls. */
  readonly suggestion: number | null;
  /** Whether the loss grew beyond four times its least value, or to infinity, so that the test ended early. */
  readonly diverged: boolean;
}

/** Lightning's and fastai's numbers: weight of the past in the average, and growth that ends the test. */
const BETA = 0.98;
const DIVERGED = 4;
/** Points that are not looked at: of the first the average knows little, and the last may be the blow-up itself. */
const SKIPPED_BEGIN = 10;
const SKIPPED_END = 1;

/** Rate of a step, from 0. Throws `bad-config` for a range that is none. */
export function lrOfStep({ min, max, steps }: LrRange, step: number): number {
  if (!(min > 0 && max > min && steps > SKIPPED_BEGIN + SKIPPED_END + 1)) {
    throw new DeitError('bad-config', 'This is no range to look for a learning rate in.', {
      expected: `0 < least < largest rate, and at least ${SKIPPED_BEGIN + SKIPPED_END + 2} steps`,
      found: `${min} to ${max} in ${steps} steps`,
    });
  }
  return min * (max / min) ** (step / (steps - 1));
}

/** Takes the losses as they come. */
export class LrFinder {
  readonly points: LrPoint[] = [];
  private average = 0;
  private best = Infinity;
  private hasDiverged = false;

  /** Whether the test is over after this loss: it has diverged. */
  add(lr: number, loss: number): boolean {
    this.average = BETA * this.average + (1 - BETA) * loss;
    const smoothed = this.average / (1 - BETA ** (this.points.length + 1));
    this.hasDiverged = !Number.isFinite(smoothed) || (this.points.length > 0 && smoothed > DIVERGED * this.best);
    if (Number.isFinite(smoothed)) this.points.push({ lr, loss, smoothed });
    this.best = Math.min(this.best, smoothed);
    return this.hasDiverged;
  }

  result(): LrSuggestion {
    const { points, hasDiverged: diverged } = this;
    return { points, suggestion: steepest(points), diverged };
  }
}

/** Rate at the most negative slope of the smoothed loss over the steps, by central differences; null if it falls nowhere. */
function steepest(points: readonly LrPoint[]): number | null {
  const seen = points.slice(SKIPPED_BEGIN, -SKIPPED_END);
  let best: LrPoint | null = null;
  let least = 0;
  for (let i = 0; i < seen.length && seen.length > 1; i++) {
    const [before, after] = [Math.max(0, i - 1), Math.min(seen.length - 1, i + 1)];
    const slope = (seen[after].smoothed - seen[before].smoothed) / (after - before);
    if (slope < least) [least, best] = [slope, seen[i]];
  }
  return best?.lr ?? null;
}
