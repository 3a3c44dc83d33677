import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { smallRecipe } from '../../bench/drills/drill.ts';
import { LrFinder, lrOfStep } from '../../deit/train/lr-finder.ts';
import { lastJson, ran } from '../support/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'deit-find-lr-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Losses that fall along a logistic curve around step 20, with a ripple. */
const losses = Array.from({ length: 40 }, (_, i) => 2.3 - 1.5 / (1 + Math.exp(-(i - 20) / 2)) + (i % 2 ? 0.2 : 0));
const range = { min: 1e-5, max: 1, steps: 40 };

describe('LrFinder', () => {
  it('smooths and suggests as Lightning does', () => {
    const finder = new LrFinder();
    for (const [i, loss] of losses.entries()) expect(finder.add(lrOfStep(range, i), loss)).toBe(false);
    const { points, suggestion, diverged } = finder.result();
    // By the formulas of lightning.pytorch.tuner.lr_finder in float64: average of weight 0.98 divided by 1 - 0.98^(i+1), and
    // torch.gradient of all but the first ten and the last, whose least value is at step 23.
    expect(points[0].smoothed).toBeCloseTo(2.2999319031969443, 12);
    expect(points[23].smoothed).toBeCloseTo(2.1181589279874644, 12);
    expect(points[39].smoothed).toBeCloseTo(1.5247963533374191, 12);
    expect(suggestion).toBeCloseTo(0.008886238162743405, 14);
    expect(diverged).toBe(false);
  });

  it('ends when the smoothed loss is beyond four times its least value, or no number', () => {
    const finder = new LrFinder();
    for (let i = 0; i < 20; i++) finder.add(1e-3, 1);
    // The average is (0.98 * a + 0.02 * x) / (1 - 0.98^21) with a = 1 - 0.98^20: over 4 from x = 54 on.
    expect(finder.add(1e-2, 50)).toBe(false);
    const other = new LrFinder();
    for (let i = 0; i < 20; i++) other.add(1e-3, 1);
    expect(other.add(1e-2, 60)).toBe(true);
    expect(other.result().diverged).toBe(true);
    const third = new LrFinder();
    third.add(1e-3, 1);
    expect(third.add(1e-2, NaN)).toBe(true);
    expect(third.result().points).toHaveLength(1);
  });

  it('suggests nothing where the loss only grows', () => {
    const finder = new LrFinder();
    for (let i = 0; i < 30; i++) finder.add(lrOfStep({ ...range, steps: 30 }, i), 1 + 0.01 * i);
    expect(finder.result().suggestion).toBeNull();
  });

  it.each([
    { min: 0, max: 1, steps: 50 },
    { min: 1, max: 0.1, steps: 50 },
    { min: 1e-5, max: 1, steps: 12 },
  ])('refuses a range that is none: %o', (wrong) => {
    expect(() => lrOfStep(wrong, 0)).toThrow('no range');
  });
});

describe('deit train --find-lr', () => {
  it('tries rates from the least to the largest, suggests one, plots it, and begins no run', async () => {
    const [plot, runs] = [join(folder, 'lr.html'), join(folder, 'run')];
    const { code, out, err } = await ran('train', '--recipe', smallRecipe(folder), '--find-lr', plot, '--lr-min', '1e-6', '--lr-max', '100', '--steps', '30', '--output', runs, '--json'); // prettier-ignore
    expect(code, err).toBe(0);
    const { suggestion, points } = lastJson<{ suggestion: number | null; points: { lr: number; loss: number }[] }>(out);
    expect(points[0].lr).toBeCloseTo(1e-6, 12);
    points.slice(1).forEach(({ lr }, i) => expect(lr / points[i].lr).toBeCloseTo(1e8 ** (1 / 29), 6));
    // New weights know nothing: ten classes alike.
    expect(Math.abs(points[0].loss - Math.log(10))).toBeLessThan(0.7);
    if (suggestion !== null) expect(err).toContain(`--set optim.lr=${Number(suggestion.toPrecision(2))}`);
    expect(readFileSync(plot, 'utf8')).toContain('"xLog":true');
    expect(existsSync(runs)).toBe(false);
    expect(readdirSync(folder).sort()).toEqual(['lr.html', 'recipe.json']);
  });

  it('refuses what it cannot do', async () => {
    expect((await ran('train', '--find-lr', '--resume', folder)).err).toContain('before a run is begun');
    expect((await ran('train', '--find-lr', '--lr-min', '2')).err).toContain('no range');
  });
});
