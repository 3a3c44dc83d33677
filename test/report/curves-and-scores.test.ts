import { expect, it } from 'vitest';
import { classScores, wilson } from '../../deit/report/answers.ts';
import { noisy, smooth } from '../../deit/report/charts.ts';

it("Wilson's interval is that of the published formula", () => {
  // R's binom.confint(x, n, methods = "wilson"), to four digits.
  for (const [hits, of, low, high] of [
    [1, 10, 0.0179, 0.4042],
    [8, 10, 0.4902, 0.9433],
    [0, 20, 0, 0.1611],
    [50, 50, 0.9287, 1],
  ]) {
    const interval = wilson(hits, of)!;
    expect(interval.share).toBe(hits / of);
    expect(interval.low).toBeCloseTo(low, 4);
    expect(interval.high).toBeCloseTo(high, 4);
  }
  expect(wilson(0, 0)).toBeNull();
});

it('recall goes by rows, precision by columns', () => {
  const [a, b, c] = classScores([
    [3, 1, 0],
    [2, 2, 0],
    [0, 0, 0],
  ]);
  expect([a.images, a.recall?.share, a.precision?.share]).toEqual([4, 0.75, 0.6]);
  expect([b.recall?.share, b.precision?.share]).toEqual([0.5, 2 / 3]);
  expect([c.images, c.recall, c.precision]).toEqual([0, null, null]);
});

it('a smoothed curve starts at its first value, keeps a constant and gaps, and weighs by the decay', () => {
  expect(smooth([5, 5, null, 5], 1)).toEqual([5, 5, null, 5]);
  // Span 1: decay 1/2. (0.5 * 0.5 * 8 + 0.5 * 2) / (0.25 + 0.5)
  expect(smooth([8, 2], 1)).toEqual([8, 4]);
  expect(noisy({ y: [1, 2, 3] })).toEqual([{ y: [1, 2, 3] }]);
  const [faint, line] = noisy({ y: Array.from({ length: 100 }, (_, i) => i % 2) });
  expect([faint.faint, line.faint]).toEqual([true, undefined]);
  expect(Math.abs(line.y[99] - 0.5)).toBeLessThan(0.12);
});
