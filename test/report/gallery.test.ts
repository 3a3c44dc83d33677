/** The pictures of a report: which images are shown, under which names; and the heights of a learning-rate test's curve. */
import { expect, it } from 'vitest';
import { mul, reshape } from '../../engine/index.ts';
import type { Tensor } from '../../engine/index.ts';
import type { Classifier, Logits } from '../../deit/models/index.ts';
import { analyzeModel } from '../../deit/report/examine-model.ts';
import { renderLrTest } from '../../deit/report/lr-test.ts';
import { renderReport } from '../../deit/report/render.ts';
import type { Batch, BatchSource } from '../../deit/train/batches.ts';
import type { LayerShapes } from '../../nn/index.ts';
import { Module } from '../../nn/index.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();
const assets = { styles: [], scripts: [] };

/** Answers with the three channels of its one pixel, times one: what an image holds are its logits. */
class Channels extends Module implements Classifier {
  readonly classes = 3;
  readonly distilled = false;
  precision = 'f32' as const;
  readonly scale = engine().ones([3]).requiresGrad_();

  heads(images: Tensor): Logits {
    return { cls: mul(reshape(images, [-1, 3]), this.scale), dist: null };
  }

  describe(): LayerShapes {
    return { module: this, type: 'Channels', outputShape: [3] };
  }
}

/** Twelve images of one pixel, four at a time, the first ten taken for the next class, by a logit that is larger by this. */
const LOGITS = [1, 5, 2, 9, 3, 8, 4, 7, 6, 0.5];
const IMAGES = 12;
const BATCH = 4;
const nameOf = (index: number): string => `/photos/val/class-${index % 3}/${index}.jpg`;

async function* batches(): AsyncGenerator<Batch> {
  for (let number = 0; number < IMAGES / BATCH; number++) {
    const indices = Uint32Array.from({ length: BATCH }, (_, row) => number * BATCH + row);
    const images = new Float32Array(3 * BATCH);
    indices.forEach((index, row) => {
      const answer = index < LOGITS.length ? (index + 1) % 3 : index % 3;
      images[3 * row + answer] = LOGITS[index] ?? 3;
    });
    yield await Promise.resolve({ epoch: 0, number, size: BATCH, images, labels: Int32Array.from(indices, (i) => i % 3), indices }); // prettier-ignore
  }
}

const source: BatchSource = {
  batchSize: BATCH,
  batchesPerEpoch: IMAGES / BATCH,
  epoch: batches,
  waitSeconds: 0,
  nameOf,
};

it('the gallery shows the eight most certain mistakes, the most certain first, and names the file of every image', async () => {
  const classes = ['daisy', 'rose', 'tulip'];
  const encode = () => Promise.resolve('data:,');
  const { model } = await analyzeModel({ engine: engine(), student: new Channels(), teacher: null, source, classes, imageSize: 1, encode }); // prettier-ignore
  const mistakes = model.samples.filter(({ mistake }) => mistake);
  // By the sizes in LOGITS; the ninth and tenth, of 1 and 0.5, are not among them.
  expect(mistakes.map(({ name }) => name)).toEqual([3, 5, 7, 8, 1, 6, 4, 2].map(nameOf));
  const [first] = mistakes;
  expect([first.truth, first.predictions[0].answer]).toEqual([0, 1]);
  // Softmax of (0, 9, 0).
  expect(first.predictions[0].probability).toBeCloseTo(1 / (1 + 2 * Math.exp(-9)), 6);
  expect(model.samples.filter(({ mistake }) => !mistake).map(({ name }) => name)).toEqual([0, 9, 10, 11].map(nameOf));

  const analysis = { data: { name: 'photos', training: 1, heldOut: IMAGES }, model, training: null, peak: null };
  const config = { version: '1', command: ['train'], name: 'x', recipe: {} };
  const run = { label: 'run', config, sessions: [], steps: [], evaluations: [], result: null, analysis };
  const page = renderReport(run, assets);
  const [others, certain] = page.split('The mistakes of which it is most certain');
  const files = (part: string): string[] => [...part.matchAll(/>(class-\d\/\d+\.jpg)</g)].map(([, file]) => file);
  expect(files(certain)).toEqual([3, 5, 7, 8, 1, 6, 4, 2].map((i) => `class-${i % 3}/${i}.jpg`));
  expect(files(others)).toEqual([0, 9, 10, 11].map((i) => `class-${i % 3}/${i}.jpg`));
  // Two of twelve are right. R: binom.confint(2, 12, methods = "wilson") gives 0.0470 and 0.4480.
  expect(page).toContain('16.7 % (4.7 % to 44.8 %)');
  // Of one predictor there is no disagreement, and nobody asks which it is.
  expect(page).not.toContain('Disagreement');
  expect(page).not.toMatch(/class: (daisy|rose|tulip)/);
});

it('the curve of a learning-rate test is as high as the losses up to its least, whatever comes after', () => {
  const losses = [2, 2.2, 1.8, 1.4, 1.6, 9, 80];
  const points = losses.map((loss, i) => ({ lr: 10 ** (i - 6), loss, smoothed: [2, 2.1, 2, 1.7, 1.75, 3, 9][i] }));
  const page = renderLrTest('x', { points, suggestion: points[2].lr, diverged: true }, assets);
  const data = /<script type="application\/json" id="lr-0">(.*?)<\/script>/s.exec(page)![1];
  const { yRange, series } = JSON.parse(data) as { yRange: [number, number]; series: { values: (number | null)[] }[] };
  // The least smoothed loss is the fourth; up to it the losses lie from 1.4 to 2.2.
  expect(yRange[0]).toBeCloseTo(1.4 - 0.08, 10);
  expect(yRange[1]).toBeCloseTo(2.2 + 0.4, 10);
  expect(series.map(({ values }) => values)).toEqual([losses, [2, 2.1, 2, 1.7, 1.75, 3, 9], [null, null, 2, null, null, null, null]]); // prettier-ignore
});
