/** Long runs in a report: what is kept of their lines. */
import { describe, expect, it } from 'vitest';
import { Sampled, StepAverages } from '../../deit/report/downsample.ts';
import type { StepLine } from '../../deit/report/run.ts';

describe('samples', () => {
  it('are every item while there are few, then every second, fourth ..., and always the last', () => {
    const kept: number[][] = [];
    const sampled = new Sampled<number>(4);
    for (let i = 0; i < 12; i++) {
      sampled.add(i);
      kept.push([...sampled.items]);
    }
    expect(kept[3]).toEqual([0, 1, 2, 3]);
    expect(kept[4]).toEqual([0, 2, 4]);
    expect(kept[5]).toEqual([0, 2, 4, 5]);
    expect(kept[6]).toEqual([0, 2, 4, 6]);
    expect(kept[8]).toEqual([0, 4, 8]);
    expect(kept[11]).toEqual([0, 4, 8, 11]);
    expect(new Sampled<number>(4).items).toEqual([]);
  });
});

describe('steps', () => {
  const line = (step: number, loss: number | null): StepLine => ({ step, loss, role: 'student' }) as StepLine;
  const seen = (averages: StepAverages): unknown[] => averages.lines.map(({ step, loss }) => [step, loss]);

  it('are averaged in twos where there are too many, gaps left out, and the rest is told too', () => {
    const averages = new StepAverages(4);
    [1, 3, null, 7].forEach((loss, i) => averages.add(line(i + 1, loss)));
    // At the fourth they are two: of steps 1 and 2, and of 3 and 4, of which one has a loss.
    expect(seen(averages)).toEqual([
      [1.5, 2],
      [3.5, 7],
    ]);
    averages.add(line(5, 20));
    expect(seen(averages).at(-1)).toEqual([5, 20]);
    averages.add(line(6, 30));
    averages.add(line(7, 1));
    expect(seen(averages).slice(2)).toEqual([
      [5.5, 25],
      [7, 1],
    ]);
    averages.add(line(8, 2));
    expect(seen(averages)).toEqual([
      [2.5, 4.5],
      [6.5, 13.25],
    ]);
  });
});
