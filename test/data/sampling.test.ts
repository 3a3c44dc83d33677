import { describe, expect, it } from 'vitest';
import { PhiloxStream, Purpose } from '../../engine/index.ts';
import {
  checkMixBatch,
  cutmixBox,
  deitMixing,
  drawMix,
  mixImages,
  mixStream,
  softTargets,
} from '../../deit/data/mixing.ts';
import {
  balancedOrder,
  batchCount,
  epochOrder,
  epochSamples,
  EpochSamples,
  sampleCount,
  sampleStream,
} from '../../deit/data/sampler.ts';
import type { SamplerOptions } from '../../deit/data/sampler.ts';

describe('sampling', () => {
  const indices = (samples: EpochSamples): number[] => samples.slice(0, samples.length).map(({ index }) => index);
  const identity = Uint32Array.from({ length: 10 }, (_, i) => i);
  const repeated = (processes: number, rank: number): EpochSamples =>
    new EpochSamples(identity, { length: 10, shuffle: false, repeats: 3, processes, rank, roundTo: 1 });

  it('repeats as DeiT does (spec/recipe.md 4.4)', () => {
    expect(indices(repeated(1, 0))).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3]);
    expect([0, 1].map((rank) => indices(repeated(2, rank)))).toEqual([
      [0, 0, 1, 2, 2],
      [0, 1, 1, 2, 3],
    ]);
    expect([0, 1, 2, 3].map((rank) => indices(repeated(4, rank)))).toEqual([
      [0, 1],
      [0, 1],
      [0, 2],
      [1, 2],
    ]);
    expect(repeated(1, 0).slice(0, 4)).toEqual([
      { index: 0, copy: 0 },
      { index: 0, copy: 1 },
      { index: 0, copy: 2 },
      { index: 1, copy: 0 },
    ]);
  });

  it('counts ImageNet as DeiT does', () => {
    const options: SamplerOptions = { length: 1_281_167, shuffle: true, repeats: 3 };
    expect(sampleCount(options)).toBe(1_281_024);
    expect(batchCount(1_281_024, 1024, true)).toBe(1251);
    expect(sampleCount({ ...options, processes: 16, rank: 3 })).toBe(80_064);
    const samples = epochSamples({ ...options, length: 3000 }, 0, 0);
    expect([samples.length, new Set(indices(samples)).size]).toEqual([2816, 939]);
  });

  it('refuses repeats that leave nothing, and impossible ranks', () => {
    expect(() => sampleCount({ length: 255, shuffle: true, repeats: 3 })).toThrow(/at least 256 images/);
    expect(() => sampleCount({ length: 500, shuffle: true, processes: 2, rank: 2 })).toThrow(/rank/);
    expect(() => sampleCount({ length: 500, shuffle: true, repeats: 0 })).toThrow(/bad-config/);
  });

  it('gives every image once an epoch, in an order of seed and epoch', () => {
    const options = { length: 100, shuffle: true };
    const first = indices(epochSamples(options, 1, 0));
    expect([...first].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(indices(epochSamples(options, 1, 0))).toEqual(first);
    expect(indices(epochSamples(options, 1, 1))).not.toEqual(first);
    expect(indices(epochSamples(options, 2, 0))).not.toEqual(first);
    expect([...epochOrder(4, false, 1, 9)]).toEqual([0, 1, 2, 3]);
    // Shares of three processes: equal, together everything, the wrap at the end repeated.
    const shares = [0, 1, 2].map((rank) => indices(epochSamples({ ...options, processes: 3, rank }, 1, 0)));
    expect(shares.map((share) => share.length)).toEqual([34, 34, 34]);
    expect(new Set(shares.flat()).size).toBe(100);
  });

  it('shuffles without favour: every image comes first equally often', () => {
    const counts = new Uint32Array(10);
    for (let epoch = 0; epoch < 5000; epoch++) counts[epochOrder(10, true, 3, epoch)[0]]++;
    // Chi-squared with 9 degrees of freedom exceeds 27.9 once in a thousand seeds.
    expect([...counts].reduce((sum, c) => sum + (c - 500) ** 2 / 500, 0)).toBeLessThan(27.9);
  });

  it('gives every showing of an image draws of its own', () => {
    const word = (epoch: number, index: number, copy: number): number => sampleStream(7, epoch, { index, copy }).word();
    const words = [word(0, 0, 0), word(0, 1, 0), word(1, 0, 0), word(0, 0, 1), word(0, 0, 2)];
    expect(new Set(words).size).toBe(5);
    expect(word(0, 1, 0)).toBe(words[1]);
  });
});

describe('balanced sampling', () => {
  const labels = Uint32Array.from([...Array<number>(900).fill(0), ...Array<number>(90).fill(1), ...Array<number>(10).fill(3)]); // prettier-ignore
  const balance = { labels, classes: 4 };

  it('draws each class that has images equally often, and its images alike: weights 1 / images of the class', () => {
    const drawn = new Uint32Array(1000);
    for (let epoch = 0; epoch < 30; epoch++) for (const index of balancedOrder(labels, 4, 5, epoch)) drawn[index]++;
    const ofClass = [0, 1, 3].map((label) => drawn.reduce((sum, n, i) => sum + (labels[i] === label ? n : 0), 0));
    expect(ofClass.reduce((a, b) => a + b)).toBe(30_000);
    // Binomial, 30000 draws of 1/3: standard deviation 82, of which four are allowed.
    for (const count of ofClass) expect(Math.abs(count - 10_000)).toBeLessThan(4 * 82);
    // Ten images of 1000 each: chi-squared with 9 degrees of freedom exceeds 27.9 once in a thousand seeds.
    const few = [...drawn.subarray(990)];
    const mean = ofClass[2] / 10;
    expect(few.reduce((sum, n) => sum + (n - mean) ** 2 / mean, 0)).toBeLessThan(27.9);
  });

  it('is of seed and epoch, and gives each showing of an image draws of its own', () => {
    const options: SamplerOptions = { length: 1000, shuffle: true, balance };
    const samples = epochSamples(options, 5, 2).slice(0, 1000);
    expect(samples).toEqual(epochSamples(options, 5, 2).slice(0, 1000));
    expect(samples).not.toEqual(epochSamples(options, 5, 3).slice(0, 1000));
    // Some 33 showings of each of ten images: more than the 16 copies that repeated augmentation may have.
    expect(Math.max(...samples.map(({ copy }) => copy))).toBeGreaterThan(20);
    const words = samples.map((sample) => { const draws = sampleStream(5, 2, sample); return `${draws.word()} ${draws.word()}`; }); // prettier-ignore
    expect(new Set(words).size).toBe(1000);
    // With repeats the showings of a place of the order are three copies in a row, and still none is shown twice alike.
    const repeated = epochSamples({ ...options, repeats: 3, roundTo: 1 }, 5, 2).slice(0, 1000);
    expect(repeated[0].index).toBe(repeated[2].index);
    expect(new Set(repeated.map(({ index, copy }) => `${index} ${copy}`)).size).toBe(1000);
    const shares = [0, 1].map((rank) => epochSamples({ ...options, processes: 2, rank }, 5, 2).slice(0, 500));
    expect(samples.map((_, i) => shares[i % 2][i >> 1])).toEqual(samples);
  });
});

describe('mixing', () => {
  const draw = (batch: number, options = deitMixing): ReturnType<typeof drawMix> =>
    drawMix(options, { width: 32, height: 32 }, mixStream(11, 2, batch));

  it('has draws of its own in each epoch and batch, which are neither those of the shuffle nor of samples', () => {
    const first = (stream: PhiloxStream): string => [stream.word(), stream.word()].join();
    const places = [0, 1, 2].flatMap((epoch) => [0, 1, 2].map((number) => [epoch, number] as const));
    const mixing = places.map(([epoch, number]) => first(mixStream(7, epoch, number)));
    expect(new Set(mixing).size).toBe(places.length);
    expect(first(mixStream(7, 1, 2))).toBe(mixing[5]);
    const others = [
      ...[0, 1, 2].map((epoch) => first(new PhiloxStream(7, Purpose.shuffle, epoch))),
      ...places.map(([epoch, number]) => first(new PhiloxStream(7, Purpose.shuffle, epoch, number))),
      ...places.map(([epoch, index]) => first(sampleStream(7, epoch, { index, copy: 0 }))),
    ];
    expect(mixing.filter((words) => others.includes(words))).toEqual([]);
  });

  it('draws mixup for half of the batches, CutMix for the others', () => {
    const n = 8000;
    const drawn = Array.from({ length: n }, (_, i) => draw(i));
    const mixup = drawn.filter((mix) => mix.kind === 'mixup').map((mix) => mix.lambda);
    const cutmix = drawn.filter((mix) => mix.kind === 'cutmix').map((mix) => mix.lambda);
    expect(mixup.length + cutmix.length).toBe(n);
    expect(Math.abs(mixup.length - n / 2)).toBeLessThan(4 * Math.sqrt(n / 4));
    const moments = (values: number[]): [number, number] => {
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      return [mean, values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length];
    };
    // Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)): 0.0962 for a = 0.8. Four standard errors of 4000 draws.
    const [mean, variance] = moments(mixup);
    expect(Math.abs(mean - 0.5)).toBeLessThan(4 * Math.sqrt(0.0962 / 4000));
    expect(Math.abs(variance - 0.0962)).toBeLessThan(0.006);
    // Boxes are cut at the borders, so less is pasted than 1 - lambda of Beta(1, 1), whose mean is 1/2.
    const [actual] = moments(cutmix);
    expect(actual).toBeGreaterThan(0.5);
    expect(actual).toBeLessThan(0.75);
  });

  it('turns parts off', () => {
    const kinds = (options: typeof deitMixing): Set<string> =>
      new Set(Array.from({ length: 200 }, (_, i) => draw(i, options).kind));
    expect(kinds({ ...deitMixing, cutmixAlpha: 0 })).toEqual(new Set(['mixup']));
    expect(kinds({ ...deitMixing, mixupAlpha: 0 })).toEqual(new Set(['cutmix']));
    expect(kinds({ ...deitMixing, mixupAlpha: 0, cutmixAlpha: 0 })).toEqual(new Set(['none']));
    expect(kinds({ ...deitMixing, probability: 0 })).toEqual(new Set(['none']));
    expect(kinds({ ...deitMixing, probability: 0.5 })).toEqual(new Set(['none', 'mixup', 'cutmix']));
  });

  it('cuts boxes by the rule of timm 0.3.2', () => {
    // sqrt(1 - 0.75) = 1/2: 16 pixels of 32, 8 to either side.
    expect(cutmixBox(32, 32, 0.75, 16, 10)).toEqual({ left: 8, right: 24, top: 2, bottom: 18 });
    // Clipped at the corner; an odd side (sqrt(0.64) * 9 = 7.2 -> 7) loses a pixel: 3 to either side.
    expect(cutmixBox(9, 9, 0.36, 0, 8)).toEqual({ left: 0, right: 3, top: 5, bottom: 9 });
    expect(cutmixBox(32, 16, 0, 16, 8)).toEqual({ left: 0, right: 32, top: 0, bottom: 16 });
    for (let i = 0; i < 300; i++) {
      const mix = draw(i);
      if (mix.kind !== 'cutmix') continue;
      const { left, right, top, bottom } = mix.box;
      expect(mix.lambda).toBe(1 - ((right - left) * (bottom - top)) / 1024);
    }
  });

  it('smooths and mixes targets', () => {
    // K = 1000, smoothing 0.1: on 0.9001, off 0.0001 (spec/recipe.md 5).
    const smooth = softTargets(Int32Array.of(3, 7), 1000, 0.1, 1);
    expect([smooth[3], smooth[1000 + 7], smooth[0], smooth[7]].map((v) => Number(v.toFixed(6)))).toEqual([
      0.9001, 0.9001, 0.0001, 0.0001,
    ]);
    const mixed = softTargets(Int32Array.of(0, 1, 1, 2), 4, 0, 0.25);
    expect([...mixed]).toEqual([0.25, 0, 0.75, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0.75, 0, 0.25, 0]);
    const sums = softTargets(Int32Array.of(0, 1, 3, 2), 4, 0.1, 0.3);
    for (let i = 0; i < 4; i++) {
      expect(sums.subarray(4 * i, 4 * i + 4).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
    }
    expect(() => softTargets(Int32Array.of(4, 0), 4, 0.1, 1)).toThrow(/0 to 3/);
    expect(() => checkMixBatch(15)).toThrow(/even/);
    expect(() => checkMixBatch(16)).not.toThrow();
  });

  it('mixes images with the reversed batch', () => {
    const images = Float32Array.from({ length: 2 * 3 * 4 * 4 }, (_, i) => i);
    const shape = [2, 3, 4, 4] as const;
    const half = mixImages(images, shape, { kind: 'mixup', lambda: 0.75 });
    expect([half[0], half[48 + 5]]).toEqual([0.25 * 48, 0.75 * 53 + 0.25 * 5]);
    const box = { top: 1, bottom: 3, left: 2, right: 4 };
    const pasted = mixImages(images, shape, { kind: 'cutmix', lambda: 0.75, box });
    pasted.forEach((value, i) => {
      const [y, x] = [Math.floor(i / 4) % 4, i % 4];
      const isInside = y >= 1 && y < 3 && x >= 2;
      expect(value).toBe(isInside ? (i + 48) % 96 : i);
    });
    expect(mixImages(images, shape, { kind: 'none', lambda: 1 })).toEqual(images);
  });
});
