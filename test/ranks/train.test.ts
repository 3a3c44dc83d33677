/** `deit train` on several ranks is the run of one process. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  HELD_OUT,
  PLAIN,
  largestDifference,
  launch,
  launchWell,
  linesOf,
  lossesOf,
  openMpi,
  place,
  recipeFile,
  training,
} from '../support/train-ranks.ts';
import type { Launched } from '../support/train-ranks.ts';
import type { Order } from '../support/train-ranks-orders.ts';

const plain = recipeFile('plain', PLAIN);
/** A teacher with batch norms, trained in the run; slices of four images again, one a rank: the recipe does not say how many. */
const withTeacher = recipeFile('with-teacher', {
  ...PLAIN,
  data: { ...PLAIN.data, batchSize: 12, accumulate: undefined },
  distillation: { type: 'hard' },
  teacher: { model: 'regnety_002 w0=16 wa=8 wm=2.0 depth=3 group_width=8' },
});
const setting = (name: string): string[] => ['--set', name];
const f16 = [...setting('model.precision=f16'), ...setting('run.nonFinite=skip')];
/** Of the slice with this number, wherever it is computed. */
const huge = (rank: number, at: number): Omit<Order, 'args'> => ({ fault: { kind: 'huge', rank, at } });
const wire = setting('parallel.wire=f16');
const strided = setting('augment.repeatsStrided=true');
const inFour = setting('data.accumulate=4');
const stopAt = (at: number): Omit<Order, 'args'> => ({ fault: { kind: 'SIGUSR2', rank: 1, at } });

/** Between the losses of two runs, step by step; what is not finite has to be so in both. */
const losses = (a: string, b: string): number => {
  const [x, y] = [lossesOf(place(a)), lossesOf(place(b))];
  expect(x.map((loss) => loss === null)).toEqual(y.map((loss) => loss === null));
  return Math.max(...x.map((loss, i) => Math.abs((loss ?? 0) - (y[i] ?? 0))));
};

// Processes that start, and compile, on a machine that may be busy with others.
describe.runIf(openMpi)('deit train on several ranks', { timeout: 600_000 }, () => {
  let three: Launched;
  beforeAll(async () => {
    const alone = launchWell(
      1,
      { args: training(plain, place('whole')) },
      { args: training(withTeacher, place('one'), ...setting('data.accumulate=3')) },
      { args: training(plain, place('f16'), ...f16), ...huge(1, 3) },
      { args: training(plain, place('strided'), ...strided) },
      { args: training(plain, place('in-four'), ...inFour) },
    );
    const onTwo = launchWell(
      2,
      { args: training(plain, place('f16-2'), ...f16), ...huge(1, 3) },
      { args: training(plain, place('strided-2'), ...strided) },
      { args: training(plain, place('wire-2'), ...wire, ...setting('parallel.bucketMB=0.02')) },
    );
    const onThree = launch(
      3,
      { args: training(plain, place('refused')) },
      { args: training(withTeacher, place('refused'), ...setting('data.batchSize=8')) },
      { args: training(withTeacher, place('three'), '--json') },
    );
    [, , three] = await Promise.all([alone, onTwo, onThree]);
  }, 600_000);

  it('with a teacher trained in it, and running statistics; few held-out images, divided unevenly', async () => {
    const [, , [speaker, ...others]] = three.said;
    expect(
      [speaker, ...others].map(({ code }) => code),
      three.ended.stderr,
    ).toEqual([0, 0, 0]);
    const [lines, expected] = [linesOf(place('three')), linesOf(place('one'))];
    expect(lines).toHaveLength(expected.length);
    lines.forEach((line, i) => {
      // Sums of three slices in another order.
      if (line.loss !== undefined) expect(Math.abs(line.loss! - expected[i].loss!)).toBeLessThanOrEqual(1e-6);
      // 23 images are six batches of four, over three ranks: counts are the same to the last image.
      else expect(line.accuracy).toMatchObject({ images: HELD_OUT });
      if (typeof line.accuracy !== 'object') return;
      const { average, top5 } = expected[i].accuracy as { average: number; top5: number };
      expect(line.accuracy).toMatchObject({ average, top5 });
    });
    // Adam turns rounding of gradients near zero into steps of the learning rate; running statistics are sums too.
    for (const file of ['student', 'student-ema', 'teacher']) {
      expect(await largestDifference(place('three'), place('one'), `${file}.safetensors`)).toBeLessThanOrEqual(1e-5);
    }
    // One voice, and what several ranks cost.
    expect(others.map(({ out, err }) => out + err)).toEqual(['', '']);
    expect(speaker.err).toContain('ranks: 3, each computes 1 of the 3 slices of 4 images');
    expect(speaker.err).toMatch(/^3 ranks: \d+\.\d % of the time in collectives/m);
    const result = JSON.parse(speaker.out.trim()) as { ranks: { ranks: number; waiting: number } };
    expect(result.ranks.ranks).toBe(3);
    expect(readFileSync(join(place('three'), 'report.html'), 'utf8')).toMatch(/3 ranks: \d+\.\d % of the time/);
    // One slice a rank, since the recipe left it open; kept for those who go on.
    expect(JSON.parse(readFileSync(join(place('three'), 'config.json'), 'utf8'))).toMatchObject({
      recipe: { data: { accumulate: 3 } },
    });
  });

  it('worlds that do not divide the slices, or the images where slices are open, are refused by one message', () => {
    const [byRecipe, byImages] = three.said;
    for (const own of [byRecipe, byImages]) {
      expect(own.map(({ code }) => code)).toEqual([1, 1, 1]);
      expect(own.map(({ err }) => err.match(/\[bad-config\]/g)?.length ?? 0)).toEqual([1, 0, 0]);
    }
    expect(byRecipe[0].err).toContain('a number of ranks that divides 2: 1, 2');
    // Eight images in pairs.
    expect(byImages[0].err).toContain('a number of ranks from 1, 2, 4');
    expect(byImages[0].err).toContain('data.batchSize=6 or 12');
    expect(existsSync(place('refused'))).toBe(false);
  });

  it('in f16 with loss scaling: what is not finite on one rank moves no weight on any', async () => {
    const scales = (run: string) => linesOf(place(run)).map(({ lossScale }) => lossScale);
    expect(scales('f16-2')).toEqual(scales('f16'));
    expect(lossesOf(place('f16')).map((loss) => loss === null)).toEqual([false, false, true, false, false, false]);
    expect(losses('f16-2', 'f16')).toBeLessThanOrEqual(1e-6);
    expect(await largestDifference(place('f16-2'), place('f16'))).toBe(0);
  });

  it('with views dealt out to the slices in turn, by choice', async () => {
    expect(await largestDifference(place('strided-2'), place('strided'))).toBe(0);
    expect(losses('strided-2', 'strided')).toBeLessThanOrEqual(3e-7);
    expect(losses('strided', 'whole')).toBeGreaterThan(1e-3);
  });

  it('with gradients that travel as f16, in small buckets: the scale gives way where one overflows on its way', () => {
    const [first] = lossesOf(place('wire-2'));
    // It comes before any gradient. What rounding does to the losses after it is in step.test.ts.
    expect(Math.abs(first! - lossesOf(place('whole'))[0]!)).toBeLessThanOrEqual(3e-7);
    const scales = linesOf(place('wire-2')).slice(0, 6).map(({ lossScale }) => lossScale!); // prettier-ignore
    expect(scales.some(({ overflowed }) => overflowed)).toBe(true);
    scales.forEach(({ next, overflowed }, i) => {
      const before = i === 0 ? 2 ** 16 : scales[i - 1].next;
      expect(next).toBe(overflowed ? before / 2 : before);
    });
  });

  it('begun on four ranks, gone on with on two and then on one', async () => {
    const run = place('fewer');
    const begin: Order = { args: training(plain, run, ...inFour), ...stopAt(2) };
    // 128 + SIGUSR2.
    const four = await launch(4, begin);
    expect(
      four.said[0].map(({ code }) => code),
      four.ended.stderr,
    ).toEqual([140, 140, 140, 140]);
    expect(four.said[0][0].err).toMatch(/^stopped the student after step [23] of 6/m);
    const two = await launch(2, { args: ['train', '--resume', run], ...stopAt(4) });
    expect(
      two.said[0].map(({ code }) => code),
      two.ended.stderr,
    ).toEqual([140, 140]);
    await launchWell(1, { args: ['train', '--resume', run] });
    // (a + b) + (c + d) for ((a + b) + c) + d.
    expect(losses('fewer', 'in-four')).toBeLessThanOrEqual(1e-6);
    expect(await largestDifference(run, place('in-four'))).toBeLessThanOrEqual(1e-5);
  });
});
