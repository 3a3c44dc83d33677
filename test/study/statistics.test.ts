import { describe, expect, it } from 'vitest';
import { bootstrapDifference, pairedDifference, spreadOf, verdictOf } from '../../deit/study/statistics.ts';
import { goldenJson } from '../support/golden.ts';

interface Intervals {
  pairs: {
    name: string;
    a: number[];
    b: number[];
    mean: number;
    deviation: number;
    difference: number;
    low: number;
    high: number;
  }[];
  images: { name: string; counts: [number, number, number]; low: number; high: number }[];
  quantiles: { degreesOfFreedom: number; t: number }[];
  exact: { images: number; right: number; low: number; high: number };
}
const golden = goldenJson<Intervals>('intervals.json');
const repeated = (value: number, count: number): number[] => new Array<number>(count).fill(value);

describe('statistics of a study are those of SciPy', () => {
  it.each(golden.pairs)('$name: mean, deviation and paired t interval', ({ a, b, mean, deviation, ...expected }) => {
    const spread = spreadOf(a)!;
    expect(spread.count).toBe(a.length);
    expect(spread.mean).toBeCloseTo(mean, 14);
    expect(spread.deviation).toBeCloseTo(deviation, 14);
    const found = pairedDifference(a.map((value, i) => value - b[i]))!;
    expect(found.over).toBe('seeds');
    expect(found.mean).toBeCloseTo(expected.difference, 14);
    // jStat inverts the incomplete beta function to 1e-8; half-widths here are below 0.2.
    expect(Math.abs(found.low - expected.low)).toBeLessThan(1e-8);
    expect(Math.abs(found.high - expected.high)).toBeLessThan(1e-8);
  });

  it.each(golden.quantiles)('t of $degreesOfFreedom degrees of freedom', ({ degreesOfFreedom, t }) => {
    // Differences of mean 0 and of standard error 1: the interval ends at the quantile.
    const count = degreesOfFreedom + 1;
    const values = Array.from({ length: count }, (_, i) => (i === 0 ? 1 : i === 1 ? -1 : 0));
    const scale = Math.sqrt((count * degreesOfFreedom) / 2);
    const { low, high } = pairedDifference(values.map((value) => value * scale))!;
    // As above: 1e-8 of the probability is up to 1e-7 of the quantile, where the density is low.
    expect(Math.abs(high - t) / t).toBeLessThan(1e-7);
    expect(Math.abs(low + t) / t).toBeLessThan(1e-7);
  });

  it.each(golden.images)('$name images: bootstrap interval', ({ counts: [first, second, neither], low, high }) => {
    const values = [...repeated(1, first), ...repeated(-1, second), ...repeated(0, neither)];
    const found = bootstrapDifference(values)!;
    expect(found.over).toBe('images');
    expect(found.mean).toBeCloseTo((first - second) / values.length, 14);
    // A 2.5 % quantile of 4,000 draws has a standard error of sqrt(0.025 * 0.975 / 4,000) / 0.058 = 0.043 deviations of
    // the mean (0.058: the normal density there); four of them, and one image, since means are multiples of 1 / images.
    const deviation = Math.sqrt(((first + second) / values.length - found.mean ** 2) / values.length);
    const tolerance = 4 * 0.043 * deviation + 1 / values.length;
    expect(Math.abs(found.low - low)).toBeLessThan(tolerance);
    expect(Math.abs(found.high - high)).toBeLessThan(tolerance);
  });

  it('bootstrap of right and wrong alone has binomial quantiles', () => {
    const { images, right, low, high } = golden.exact;
    const found = bootstrapDifference([...repeated(1, right), ...repeated(0, images - right)])!;
    expect(Math.abs(found.low - low)).toBeLessThanOrEqual(1 / images + 1e-12);
    expect(Math.abs(found.high - high)).toBeLessThanOrEqual(1 / images + 1e-12);
  });

  it('says of an interval over zero that it shows no difference', () => {
    const interval = (low: number, high: number) => ({ mean: 0, low, high, over: 'seeds', count: 3 }) as const;
    expect(verdictOf(interval(-0.01, 0.02))).toBe('no difference shown');
    expect(verdictOf(interval(0, 0.02))).toBe('no difference shown');
    expect(verdictOf(interval(0.001, 0.02))).toBe('higher');
    expect(verdictOf(interval(-0.02, -0.001))).toBe('lower');
  });

  it('has no deviation and no interval of one seed, and nothing of none', () => {
    expect(spreadOf([0.5])).toEqual({ mean: 0.5, deviation: null, count: 1 });
    expect(spreadOf([])).toBeNull();
    expect(pairedDifference([0.1])).toBeNull();
    expect(bootstrapDifference([])).toBeNull();
  });
});
