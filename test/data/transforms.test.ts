import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { affine, rotate } from '../../deit/data/affine.ts';
import type { Matrix, Rgb } from '../../deit/data/affine.ts';
import type { RgbImage } from '../../deit/data/dataset.ts';
import { evaluationPipeline, makeAugment, makeTransform, trainingPipeline } from '../../deit/data/pipeline.ts';
import * as ops from '../../deit/data/pixel-ops.ts';
import { resize } from '../../deit/data/resize.ts';
import type { Box, Interpolation } from '../../deit/data/resize.ts';
import { crop } from '../../deit/data/crop.ts';
import {
  centerCrop,
  evaluationCrop,
  flipHorizontal,
  imagenetNormalization,
  normalizationTables,
  pad,
  randomPaddedCrop,
  randomResizedRect,
  resizeShorterSide,
  roundHalfEven,
  writeChw,
} from '../../deit/data/transforms.ts';
import { PhiloxStream, Purpose } from '../../engine/index.ts';

/** The pictures of test/golden/image_digests.py: the same integer formulas. */
function picture(kind: string, width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++, i++) {
        const mixed = x * 7919 + y * 104729 + c * 1299709 + x * y * 31 + (x * x + c) * (y + 3);
        const noise = Math.imul(mixed, 2654435761) >>> 24;
        if (kind === 'noise') data[i] = noise;
        else if (kind === 'smooth') data[i] = (x * 3 + y * 2 + c * 40) % 256;
        else if (kind === 'binary') data[i] = (noise >> 7) * 255;
        else data[i] = 60 + (noise >> 3) + c * 10;
      }
    }
  }
  return { width, height, data };
}

interface DigestCase {
  op: string;
  args: unknown[];
  picture: [string, number, number];
  size: [number, number];
  md5: string;
}

const digests = JSON.parse(
  readFileSync(new URL('../golden/image_digests.json', import.meta.url), 'utf8'),
) as DigestCase[];

function runOp(op: string, image: RgbImage, args: unknown[]): RgbImage {
  if (op === 'resize') {
    const [width, height, filter, box] = args as [number, number, Interpolation, Box | null];
    return resize(image, width, height, filter, box ?? undefined);
  }
  if (op === 'rotate') return rotate(image, ...(args as [number, Interpolation, Rgb]));
  if (op === 'affine') return affine(image, ...(args as [Matrix, Interpolation, Rgb]));
  if (op === 'shorterSideAndCenterCrop') {
    const [size, cut, filter] = args as [number, number, Interpolation];
    return centerCrop(resizeShorterSide(image, size, filter), cut);
  }
  const pointOps: Record<string, (image: RgbImage, argument: number) => RgbImage> = ops;
  return pointOps[op](image, args[0] as number);
}

const draws = (stream: number): PhiloxStream => new PhiloxStream(17, Purpose.test, 0, stream);

describe('the bytes of Pillow 13, timm and torchvision', () => {
  it.each([...new Set(digests.map(({ op }) => op))])('%s', (op) => {
    const cases = digests.filter((c) => c.op === op);
    expect(cases.length).toBeGreaterThan(11);
    for (const c of cases) {
      const image = picture(...c.picture);
      const before = createHash('md5').update(image.data).digest('hex');
      const result = runOp(op, image, c.args);
      const found = { size: [result.width, result.height], md5: createHash('md5').update(result.data).digest('hex') };
      expect(found, `${op} ${JSON.stringify(c.args)} of ${c.picture.join(' ')}`).toEqual({ size: c.size, md5: c.md5 });
      // Operations never write into their input.
      expect(createHash('md5').update(image.data).digest('hex')).toBe(before);
    }
  });
});

describe('resize', () => {
  it('keeps a constant image constant, and averages when it shrinks to one pixel', () => {
    const grey: RgbImage = { width: 37, height: 23, data: new Uint8Array(37 * 23 * 3).fill(131) };
    for (const filter of ['bilinear', 'bicubic'] as const) {
      for (const [w, h] of [
        [1, 1],
        [224, 224],
        [36, 60],
      ]) {
        expect(new Set(resize(grey, w, h, filter).data)).toEqual(new Set([131]));
      }
    }
    // Two pixels to one, bilinear: the triangle of support 2 weighs both equally, so the mean, rounded half up.
    const pair: RgbImage = { width: 2, height: 1, data: Uint8Array.of(10, 0, 255, 21, 255, 255) };
    expect([...resize(pair, 1, 1, 'bilinear').data]).toEqual([16, 128, 255]);
  });

  it('refuses sizes and boxes that are none', () => {
    const image = picture('noise', 4, 4);
    expect(() => resize(image, 0, 4, 'bicubic')).toThrow(/bad-argument/);
    expect(() => resize(image, 2.5, 4, 'bicubic')).toThrow(/bad-argument/);
    expect(() => resize(image, 2, 2, 'bicubic', [0, 0, 5, 4])).toThrow(/0, 0, 5, 4/);
    expect(() => resize(image, 2, 2, 'bicubic', [2, 0, 2, 4])).toThrow(/bad-argument/);
  });
});

describe('crops and sizes', () => {
  it('rounds halves to even, as Python does', () => {
    expect([0.5, 1.5, 2.5, -0.5, 2.4999, 17].map(roundHalfEven)).toEqual([0, 2, 2, 0, 2, 17]);
  });

  it('follows torchvision: shorter side exact, longer side truncated', () => {
    const size = (w: number, h: number, s: number): number[] => {
      const image: RgbImage = { width: w, height: h, data: new Uint8Array(w * h * 3) };
      const { width, height } = resizeShorterSide(image, s, 'bilinear');
      return [width, height];
    };
    expect(size(50, 33, 25)).toEqual([37, 25]); // 37.87
    expect(size(33, 50, 25)).toEqual([25, 37]);
    expect(size(40, 40, 24)).toEqual([24, 24]);
  });

  it('makes the sizes of the published evaluations', () => {
    // spec: 224 at 0.875 -> 256, at 0.9 -> 248; 384 at 0.875 -> 438, at 1 -> 384. The crop of a ramp shows its offset.
    const ramp: RgbImage = { width: 600, height: 1, data: new Uint8Array(1800) };
    for (let x = 0; x < 600; x++) ramp.data.fill(x % 256, 3 * x, 3 * x + 3);
    const offset = (dim: number, cut: number): number => roundHalfEven((dim - cut) / 2);
    expect([offset(256, 224), offset(248, 224), offset(438, 384), offset(341, 224), offset(331, 224)]).toEqual([
      16, 12, 27, 58, 54,
    ]);
    const tall: RgbImage = { width: 48, height: 64, data: picture('noise', 48, 64).data };
    const cropped = evaluationCrop(tall, {
      imageSize: 28,
      cropPct: 0.875,
      interpolation: 'bicubic',
      resizeMode: 'shorter',
    });
    expect(cropped).toEqual(centerCrop(resize(tall, 32, 42, 'bicubic'), 28)); // 32 * 64 / 48 = 42.67
    const squashed = evaluationCrop(tall, {
      imageSize: 28,
      cropPct: 0.875,
      interpolation: 'bicubic',
      resizeMode: 'squash',
    });
    expect(squashed).toEqual(centerCrop(resize(tall, 32, 32, 'bicubic'), 28));
  });

  it('cuts the middle of an odd number of pixels to the even side, or down as transformers does', () => {
    // 7 - 4 = 3 pixels to cut away: one and a half on each side.
    const image = picture('noise', 7, 7);
    const square = (left: number): RgbImage => crop(image, { left, top: left, width: 4, height: 4 });
    expect(centerCrop(image, 4)).toEqual(square(2));
    expect(centerCrop(image, 4, 'down')).toEqual(square(1));
  });

  it('leaves CIFAR alone at its own size', () => {
    const image = picture('noise', 32, 32);
    const options = { imageSize: 32, cropPct: 0.875, interpolation: 'bicubic', resizeMode: 'shorter' } as const;
    expect(evaluationCrop(image, options)).toBe(image);
    expect(evaluationCrop(picture('noise', 40, 40), options).width).toBe(32);
  });

  it('cuts, pads and mirrors', () => {
    const image = picture('noise', 5, 4);
    const pixel = (i: RgbImage, x: number, y: number): number[] => [
      ...i.data.subarray((y * i.width + x) * 3, (y * i.width + x) * 3 + 3),
    ];
    const cut = crop(image, { left: 1, top: 2, width: 3, height: 2 });
    expect(pixel(cut, 0, 0)).toEqual(pixel(image, 1, 2));
    expect(pixel(cut, 2, 1)).toEqual(pixel(image, 3, 3));
    const padded = pad(image, 4);
    expect([padded.width, padded.height]).toEqual([13, 12]);
    expect(pixel(padded, 3, 5)).toEqual([0, 0, 0]);
    expect(pixel(padded, 4, 4)).toEqual(pixel(image, 0, 0));
    expect(pixel(flipHorizontal(image), 0, 3)).toEqual(pixel(image, 4, 3));
    expect(() => crop(image, { left: 3, top: 0, width: 3, height: 1 })).toThrow(/3 x 1 at \(3, 0\)/);
  });

  it('normalizes as PyTorch: to the bit of single precision', () => {
    const tables = normalizationTables(imagenetNormalization);
    // (torch.tensor([0, 128, 255]) / 255 - mean) / std in float32 with PyTorch 2.15.
    const expected = [
      [-2.1179039478302, 0.07406462728977203, 2.248908281326294],
      [-2.0357141494750977, 0.20518219470977783, 2.4285714626312256],
      [-1.804444432258606, 0.4264925718307495, 2.640000104904175],
    ];
    expected.forEach((values, c) => expect([0, 128, 255].map((level) => tables[c][level])).toEqual(values));
    const out = new Float32Array(12 + 5);
    writeChw(
      { width: 2, height: 2, data: Uint8Array.of(0, 0, 0, 255, 255, 255, 0, 128, 255, 1, 2, 3) },
      tables,
      out,
      5,
    );
    expect([...out.subarray(0, 5)]).toEqual([0, 0, 0, 0, 0]);
    expect([out[5], out[6], out[5 + 4 + 2], out[5 + 8 + 2]]).toEqual([
      tables[0][0],
      tables[0][255],
      tables[1][128],
      tables[2][255],
    ]);
  });
});

describe('random crops', () => {
  const scale = [0.08, 1] as const;
  const ratio = [3 / 4, 4 / 3] as const;

  it('draws areas and aspects from their ranges, uniformly', () => {
    const [w, h] = [500, 375];
    const areas: number[] = [];
    const aspects: number[] = [];
    let [minLeft, maxRight] = [Infinity, 0];
    for (let i = 0; i < 4000; i++) {
      const rect = randomResizedRect(w, h, scale, ratio, draws(i));
      expect(rect.left >= 0 && rect.top >= 0 && rect.left + rect.width <= w && rect.top + rect.height <= h).toBe(true);
      areas.push((rect.width * rect.height) / (w * h));
      aspects.push(Math.log(rect.width / rect.height));
      minLeft = Math.min(minLeft, rect.left);
      maxRight = Math.max(maxRight, rect.left + rect.width);
    }
    // Rounding sides to whole pixels moves the area by at most half a pixel a side: under 1 % here.
    expect(Math.min(...areas)).toBeGreaterThan(0.079);
    expect(Math.max(...areas)).toBeLessThanOrEqual(1);
    expect(Math.max(...aspects.map(Math.abs))).toBeLessThan(Math.log(4 / 3) + 0.015);
    // Proposals of area under 0.5 always fit, whatever their aspect, so accepted areas are uniform there:
    // as many in (0.08, 0.25) as 0.17 / 0.25 of those in (0.25, 0.5). 4 sigma of the ratio is about 0.1.
    const between = (a: number, b: number): number => areas.filter((x) => x >= a && x < b).length;
    expect(between(0.08, 0.25) / between(0.25, 0.5)).toBeCloseTo(0.17 / 0.25, 0.9);
    expect([minLeft, maxRight]).toEqual([0, 500]);
  });

  it('falls back to the largest central rectangle of allowed aspect', () => {
    // No rectangle of aspect 3/4 .. 4/3 and at least 8 % of the area fits into 1000 x 10.
    expect(randomResizedRect(1000, 10, scale, ratio, draws(0))).toEqual({ left: 493, top: 0, width: 13, height: 10 });
    expect(randomResizedRect(10, 1000, scale, ratio, draws(0))).toEqual({ left: 0, top: 493, width: 10, height: 13 });
    expect(randomResizedRect(10, 10, [1, 1], [2, 2], draws(0))).toEqual({ left: 0, top: 2, width: 10, height: 5 });
  });

  it('shifts padded pictures by -4 to 4 pixels, all 81 equally often', () => {
    const image = picture('noise', 32, 32);
    const counts = new Map<string, number>();
    const black = pad(image, 4);
    for (let i = 0; i < 2430; i++) {
      const { data } = randomPaddedCrop(image, 32, 4, draws(i));
      const key = Buffer.from(data.subarray(16 * 96 + 48, 16 * 96 + 54)).toString('hex');
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const expected = new Set<string>();
    for (let y = 0; y <= 8; y++) {
      for (let x = 0; x <= 8; x++) {
        const at = ((16 + y) * black.width + 16 + x) * 3;
        expected.add(Buffer.from(black.data.subarray(at, at + 6)).toString('hex'));
      }
    }
    expect(new Set(counts.keys())).toEqual(expected);
    // 30 expected each; chi-squared with 80 degrees of freedom exceeds 125 once in a thousand seeds.
    const chi2 = [...counts.values()].reduce((sum, n) => sum + (n - 30) ** 2 / 30, 0);
    expect(counts.size).toBe(81);
    expect(chi2).toBeLessThan(125);
    expect(() => randomPaddedCrop(picture('noise', 20, 32), 32, 4, draws(0))).toThrow(/at least 24 pixels/);
  });
});

describe('pipelines', () => {
  const run = (pipeline: Parameters<typeof makeTransform>[0], image: RgbImage, stream: number): Float32Array => {
    const out = new Float32Array(3 * pipeline.imageSize ** 2);
    makeTransform(pipeline)(image, draws(stream), out, 0);
    return out;
  };

  it('evaluates without draws, trains with its own', () => {
    const image = picture('noise', 60, 48);
    const evaluation = evaluationPipeline({ imageSize: 24 });
    expect(run(evaluation, image, 0)).toEqual(run(evaluation, image, 1));
    const training = trainingPipeline({ imageSize: 24 });
    expect(run(training, image, 0)).toEqual(run(training, image, 0));
    expect(run(training, image, 0)).not.toEqual(run(training, image, 1));
  });

  it('mirrors half of the pictures and chooses the crop by size', () => {
    const image = picture('noise', 32, 32);
    const quiet = { autoAugment: null, erasing: null } as const;
    const still = makeAugment(trainingPipeline({ imageSize: 32, padding: 0, ...quiet }));
    let mirrored = 0;
    for (let i = 0; i < 1000; i++) {
      const result = still(image, draws(i));
      const isMirrored = Buffer.compare(result.data, flipHorizontal(image).data) === 0;
      if (isMirrored) mirrored++;
      else expect(Buffer.compare(result.data, image.data)).toBe(0);
    }
    expect(Math.abs(mirrored - 500)).toBeLessThan(64); // 4 sigma
    const larger = makeAugment(trainingPipeline({ imageSize: 16, ...quiet }))(image, draws(0));
    expect([larger.width, larger.height]).toEqual([16, 16]);
  });

  it('names an option that cannot be used', () => {
    const bad = (options: object): (() => unknown) => {
      return () => makeTransform(trainingPipeline({ imageSize: 32, ...options }));
    };
    expect(bad({ imageSize: 0 })).toThrow(/bad-config[^]*imageSize/);
    expect(bad({ scale: [0.5, 0.1] })).toThrow(/scale/);
    expect(bad({ scale: [0, 1] })).toThrow(/scale/);
    expect(bad({ ratio: [2, 1] })).toThrow(/ratio/);
    expect(bad({ flipProbability: 1.5 })).toThrow(/flipProbability/);
    expect(bad({ padding: -1 })).toThrow(/padding/);
    expect(bad({ normalization: { mean: [0, 0, 0], std: [1, 0, 1] } })).toThrow(/std/);
    expect(bad({ autoAugment: 'rand-x3' })).toThrow(/x3/);
    expect(() => makeTransform(evaluationPipeline({ imageSize: 32, cropPct: 0 }))).toThrow(/cropPct/);
  });
});
