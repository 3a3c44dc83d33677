import { describe, expect, it } from 'vitest';
import { Tally } from '../../deit/train/tally.ts';

describe('the tally of an evaluation', () => {
  // Six classes, so that the five likeliest are not all. ln of 1, 2, ... as logits: softmax is those numbers over their sum.
  const logs = (...values: number[]): number[] => values.map(Math.log);
  const cls = Float32Array.from([
    ...logs(6, 1, 1, 1, 1, 2), // class 0 with 6/12
    ...logs(1, 2, 3, 4, 5, 9), // class 5
    ...logs(4, 4, 1, 1, 1, 1), // a tie of 0 and 1
  ]);
  const labels = [0, 0, 1];

  it('counts top-1, top-5 and the mean cross-entropy', () => {
    const tally = new Tally(6, false);
    tally.add(cls, null, labels);
    const { class: own, distillation } = tally.heads();
    expect(distillation).toBeNull();
    // Right: the first. The second's true class is the last of six. A tie counts for class 0, so the third is wrong.
    expect(own.top1).toBeCloseTo(1 / 3, 12);
    expect(own.top5).toBeCloseTo(2 / 3, 12);
    expect(own.loss).toBeCloseTo((Math.log(2) + Math.log(24) + Math.log(3)) / 3, 6); // f32 logits
    expect(tally.accuracy()).toMatchObject({ class: own.top1, distillation: null, average: own.top1, images: 3 });
  });

  it('averages logits, not probabilities', () => {
    const tally = new Tally(2, true);
    // Averages: (1.5, 1) and (0, 0.5): both right, though each head is wrong once.
    tally.add(Float32Array.of(3, 0, 1, 0), Float32Array.of(0, 2, -1, 1), [0, 1]);
    const { class: own, distillation, average } = tally.heads();
    expect([own.top1, distillation!.top1, average.top1]).toEqual([0.5, 0.5, 1]);
    expect(average.loss).toBeCloseTo(Math.log(1 + Math.exp(-0.5)), 6);
  });

  it('says per class what was taken for what', () => {
    const tally = new Tally(3, false);
    const hot = (c: number): number[] => [0, 1, 2].map((i) => (i === c ? 1 : 0));
    const found = [0, 0, 1, 1, 1];
    for (const [i, label] of [0, 0, 0, 1, 1].entries()) tally.add(Float32Array.from(hot(found[i])), null, [label]);
    expect(tally.confusion()).toEqual([
      [2, 1, 0],
      [0, 2, 0],
      [0, 0, 0],
    ]);
    expect(tally.mistakes()).toEqual([{ truth: 0, answer: 1, images: 1 }]);
    expect(tally.perClass()).toEqual([
      { images: 3, recall: 2 / 3, precision: 1 },
      { images: 2, recall: 1, precision: 2 / 3 },
      { images: 0, recall: null, precision: null },
    ]);
  });

  it('of very many classes has no table of all pairs', () => {
    const classes = 100_000;
    const tally = new Tally(classes, false);
    const logits = new Float32Array(classes);
    for (const [label, found] of [
      [7, 9],
      [7, 9],
      [99_999, 99_998],
      [5, 5],
    ]) {
      logits.fill(0)[found] = 1;
      tally.add(logits, null, [label]);
    }
    expect(tally.mistakes()).toEqual([
      { truth: 7, answer: 9, images: 2 },
      { truth: 99_999, answer: 99_998, images: 1 },
    ]);
    expect(tally.perClass()[5]).toEqual({ images: 1, recall: 1, precision: 1 });
    expect(tally.accuracy().average).toBe(0.25);
  });

  it('takes NaN for no class at all', () => {
    for (const logits of [
      [NaN, 0],
      [0, NaN],
    ]) {
      const tally = new Tally(2, false);
      expect(() => tally.add(Float32Array.from(logits), null, [0])).toThrow(/non-finite/);
    }
  });
});
