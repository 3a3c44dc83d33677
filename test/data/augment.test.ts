import { describe, expect, it, vi } from 'vitest';
import { applyOp, augmentOps, drawLevel, fillColor } from '../../deit/data/augment-ops.ts';
import type { AugmentOp, AugmentOpName } from '../../deit/data/augment-ops.ts';
import { policies } from '../../deit/data/auto-augment-policies.ts';
import { equalJitter, jitterColors } from '../../deit/data/color-jitter.ts';
import type { RgbImage } from '../../deit/data/dataset.ts';
import { adjustBrightness, adjustColor, adjustContrast, adjustHue, invert } from '../../deit/data/pixel-ops.ts';
import { applyAugment, parseAugment } from '../../deit/data/rand-augment.ts';
import type { RandAugment } from '../../deit/data/rand-augment.ts';
import { deitErasing, drawErasing, erasingRect, fillBoxes } from '../../deit/data/random-erasing.ts';
import type { RandomErasing } from '../../deit/data/random-erasing.ts';
import { imagenetNormalization } from '../../deit/data/transforms.ts';
import { PhiloxStream, Purpose } from '../../engine/index.ts';

const draws = (stream: number): PhiloxStream => new PhiloxStream(5, Purpose.test, 1, stream);
const context = { fill: fillColor(imagenetNormalization.mean), interpolation: 'bicubic' } as const;
const grey = (level: number, size = 4): RgbImage => ({
  width: size,
  height: size,
  data: new Uint8Array(size * size * 3).fill(level),
});
const deit = parseAugment('rand-m9-mstd0.5-inc1') as RandAugment;

describe('RandAugment strings', () => {
  it('reads the DeiT string', () => {
    expect(deit).toMatchObject({
      kind: 'rand',
      count: 2,
      probability: 0.5,
      magnitude: { level: 9, std: 0.5, max: 10 },
    });
    expect(deit.ops).toHaveLength(15);
    expect(deit.ops).toContain('PosterizeIncreasing');
    expect(deit.ops).toContain('SharpnessIncreasing');
  });

  it('reads every section, in any order, with the defaults of timm', () => {
    expect(parseAugment('rand')).toMatchObject({
      count: 2,
      probability: 0.5,
      magnitude: { level: 10, std: 0, max: 10 },
    });
    const plain = parseAugment('rand-n3-m7-p0.25') as RandAugment;
    expect(plain).toMatchObject({ count: 3, probability: 0.25, magnitude: { level: 7, std: 0, max: 10 } });
    expect(plain.ops).toContain('Posterize');
    expect(plain.ops).not.toContain('PosterizeIncreasing');
    expect(parseAugment('rand-mmax20-mstd101')).toMatchObject({ magnitude: { max: 20, std: Infinity } });
    expect(parseAugment('original-mstd0.5')).toEqual({ kind: 'policy', policy: 'original', std: 0.5 });
  });

  it.each([
    ['ran-m9', /bad-config[^]*"rand"/],
    ['rand-q4', /q4/],
    ['rand-m', /bad-config[^]*found: m/],
    ['rand-m9-mstd0.5-inc', /inc/],
    ['rand-n0', /n0/],
    ['rand-p1.5', /p1\.5/],
    ['v0-m9', /mstd/],
    ['', /bad-config/],
  ])('refuses %j', (config, message) => expect(() => parseAugment(config)).toThrow(message));
});

describe('levels', () => {
  const argument = (name: AugmentOpName, level: number, stream = 0): number =>
    (augmentOps[name] as AugmentOp).argument(level, draws(stream));

  it('gives the arguments of the recipe at level 9', () => {
    // spec/recipe.md 4.2, column "at L = 9"; the sign is drawn.
    const expected: [AugmentOpName, number][] = [
      ['Rotate', 27],
      ['PosterizeIncreasing', 1],
      ['SolarizeIncreasing', 26],
      ['SolarizeAdd', 99],
      ['ShearX', 0.27],
      ['ShearY', 0.27],
      ['TranslateXRel', 0.405],
      ['TranslateYRel', 0.405],
    ];
    for (const [name, value] of expected) expect(Math.abs(argument(name, 9)), name).toBeCloseTo(value, 12);
    for (const name of ['Color', 'Contrast', 'Brightness', 'Sharpness'] as const) {
      const factors = Array.from({ length: 40 }, (_, i) => argument(`${name}Increasing`, 9, i));
      expect(Math.min(...factors)).toBeCloseTo(0.19, 12);
      expect(Math.max(...factors)).toBeCloseTo(1.81, 12);
      expect(new Set(factors).size).toBe(2);
      expect(argument(name, 9)).toBeCloseTo(1.72, 12);
    }
  });

  it('follows timm at other levels', () => {
    // timm 1.0.31: [fn(level, hparams) for level in (0, 2.4, 5, 9.99, 10)] of its LEVEL_TO_ARG.
    const levels = [0, 2.4, 5, 9.99, 10];
    const at = (name: AugmentOpName): number[] => levels.map((level) => Math.abs(argument(name, level)));
    expect(at('Posterize')).toEqual([0, 0, 2, 3, 4]);
    expect(at('PosterizeIncreasing')).toEqual([4, 4, 2, 1, 0]);
    expect(at('PosterizeOriginal')).toEqual([4, 4, 6, 7, 8]);
    expect(at('Solarize')).toEqual([0, 61, 128, 255, 256]);
    expect(at('SolarizeIncreasing')).toEqual([256, 195, 128, 1, 0]);
    expect(at('SolarizeAdd')).toEqual([0, 26, 55, 109, 110]);
    at('Color').forEach((value, i) => expect(value).toBeCloseTo([0.1, 0.532, 1, 1.8982, 1.9][i], 12));
    at('Rotate').forEach((value, i) => expect(value).toBeCloseTo([0, 7.2, 15, 29.97, 30][i], 12));
  });

  it('draws levels as N(9, 0.5) cut at 10', () => {
    const n = 20_000;
    const levels = Array.from({ length: n }, (_, i) => drawLevel(deit.magnitude, draws(i)));
    const mean = levels.reduce((a, b) => a + b, 0) / n;
    const atTen = levels.filter((level) => level === 10).length / n;
    // P(N > 10) = 2.275 %: its spread over 20,000 draws is 0.1 %. The cut lowers the mean by 0.0042; its spread is 0.0035.
    expect(Math.abs(atTen - 0.02275)).toBeLessThan(0.0043);
    expect(Math.abs(mean - 8.9958)).toBeLessThan(0.0145);
    const uniform = Array.from({ length: 4000 }, (_, i) => drawLevel({ level: 8, std: Infinity, max: 10 }, draws(i)));
    expect(Math.max(...uniform)).toBeLessThan(8);
    expect(Math.abs(uniform.reduce((a, b) => a + b, 0) / 4000 - 4)).toBeLessThan(0.15); // 4 sigma
    expect(drawLevel({ level: 30, std: 0, max: 10 }, draws(0))).toBe(10);
  });

  it('blackens an image that keeps no bits', () => {
    const image = augmentOps.PosterizeIncreasing.apply(grey(255), 0, context);
    expect(new Set(image.data)).toEqual(new Set([0]));
  });
});

describe('RandAugment choices', () => {
  it('applies half of the chosen operations, each equally often', () => {
    // A picture whose result identifies Invert among all operations: a constant of level 200 becomes 55.
    const n = 12_000;
    let inverted = 0;
    let untouched = 0;
    const only: RandAugment = { ...deit, ops: ['Invert'] };
    for (let i = 0; i < n; i++) {
      const level = applyAugment(only, grey(200, 1), context, draws(i)).data[0];
      if (level === 55) inverted++;
      else if (level === 200) untouched++;
    }
    // Two rounds at probability 1/2: inverted once in half of the cases, else back to the start.
    expect(inverted + untouched).toBe(n);
    expect(Math.abs(inverted - n / 2)).toBeLessThan(4 * Math.sqrt(n / 4));

    const spies = deit.ops.map((name) => vi.spyOn(augmentOps[name] as AugmentOp, 'apply'));
    for (let i = 0; i < n; i++) applyAugment(deit, grey(200, 1), context, draws(i));
    const counts = spies.map((spy) => spy.mock.calls.length);
    spies.forEach((spy) => spy.mockRestore());
    // 2 choices an image, half of them applied, over 15 operations: 800 each. The counts are independent up to the total, so
    // chi-squared with 15 degrees of freedom, which exceeds 37.7 once in a thousand seeds.
    const chi2 = counts.reduce((sum, c) => sum + (c - 800) ** 2 / (800 * (1 - 1 / 30)), 0);
    expect(counts).toHaveLength(15);
    expect(chi2).toBeLessThan(37.7);
  });

  it('never applies at probability 0, always at 1', () => {
    const magnitude = { level: 9, std: 0, max: 10 };
    for (let i = 0; i < 50; i++) {
      expect(applyOp('Invert', 0, magnitude, grey(1), context, draws(i)).data[0]).toBe(1);
      expect(applyOp('Invert', 1, magnitude, grey(1), context, draws(i)).data[0]).toBe(254);
    }
  });

  it('fills with the ImageNet mean', () => {
    expect(context.fill).toEqual([124, 116, 104]);
    const shifted = augmentOps.TranslateXRel.apply(grey(9, 10), 0.4, context);
    expect([...shifted.data.subarray(27, 30)]).toEqual([124, 116, 104]);
    expect([...shifted.data.subarray(0, 3)]).toEqual([9, 9, 9]);
  });
});

describe('AutoAugment policies', () => {
  it('have 25 pairs of known operations with probabilities and levels in range', () => {
    for (const policy of Object.values(policies)) {
      expect(policy).toHaveLength(25);
      for (const [name, probability, level] of policy.flat()) {
        expect(Object.keys(augmentOps)).toContain(name);
        expect(probability >= 0 && probability <= 1 && level >= 0 && level <= 10).toBe(true);
      }
    }
    // The first and last rows of Table 9 of arXiv 1805.09501 (ImageNet).
    expect(policies.original[0].map(([name, p, m]) => [name, p, m])).toEqual([
      ['PosterizeOriginal', 0.4, 8],
      ['Rotate', 0.6, 9],
    ]);
    expect(policies.original[24].map(([name, p, m]) => [name, p, m])).toEqual([
      ['Equalize', 0.8, 8],
      ['Equalize', 0.6, 3],
    ]);
    expect(policies.v0r[12][0][0]).toBe('PosterizeIncreasing');
  });

  it('apply one pair an image', () => {
    const seen = new Set<string>();
    for (let i = 0; i < 60; i++) {
      const result = applyAugment(parseAugment('original'), grey(70, 6), context, draws(i));
      expect([result.width, result.height]).toEqual([6, 6]);
      seen.add(Buffer.from(result.data).toString('hex'));
    }
    expect(seen.size).toBeGreaterThan(5);
    expect(seen.has(Buffer.from(invert(grey(70, 6)).data).toString('hex'))).toBe(true);
  });
});

describe('colour jitter', () => {
  it('stays within its factors, and is nothing at strength 0', () => {
    const levels = Array.from({ length: 3000 }, (_, i) => {
      const jitter = { brightness: 0.3, contrast: 0, saturation: 0, hue: 0 };
      return jitterColors(grey(100), jitter, draws(i)).data[0];
    });
    // Brightness alone: level 100 becomes trunc(100 f), f uniform in [0.7, 1.3).
    expect([Math.min(...levels), Math.max(...levels)]).toEqual([70, 129]);
    const mean = levels.reduce((a, b) => a + b, 0) / levels.length;
    expect(Math.abs(mean - 99.5)).toBeLessThan(4 * (60 / Math.sqrt(12) / Math.sqrt(3000)));
    expect(jitterColors(grey(77), equalJitter(0), draws(0)).data).toEqual(grey(77).data);
    // Saturation and contrast leave a constant grey as it is; hue has nothing to turn.
    const rest = { brightness: 0, contrast: 0.4, saturation: 0.4, hue: 0.5 };
    for (let i = 0; i < 20; i++) expect(jitterColors(grey(77), rest, draws(i)).data).toEqual(grey(77).data);
  });

  it('applies its steps in all 24 orders, equally often', () => {
    const colourful: RgbImage = {
      width: 4,
      height: 1,
      data: Uint8Array.of(200, 40, 90, 10, 120, 60, 255, 3, 130, 90, 9, 77),
    };
    const strong = { brightness: 0.5, contrast: 0.5, saturation: 0.5, hue: 0.4 };
    const orders = [0, 1, 2, 3].flatMap((a) =>
      [0, 1, 2, 3].flatMap((b) => [0, 1, 2, 3].map((c) => [a, b, c, 6 - a - b - c])),
    );
    const permutations = orders.filter((order) => new Set(order).size === 4);
    expect(permutations).toHaveLength(24);
    const counts = new Map<string, number>();
    let told = 0;
    for (let i = 0; i < 2400; i++) {
      const stream = draws(i);
      stream.permutation(4);
      const factor = (): number => stream.uniform(0.5, 1.5);
      const factors = [factor(), factor(), factor(), stream.uniform(-0.4, 0.4)];
      const steps = [adjustBrightness, adjustContrast, adjustColor, adjustHue];
      const results = permutations.map((order) =>
        order.reduce((image, step) => steps[step](image, factors[step]), colourful).data.join(),
      );
      const found = jitterColors(colourful, strong, draws(i)).data.join();
      expect(results).toContain(found);
      // Where no two orders agree, the result tells the order.
      if (new Set(results).size < 24) continue;
      told++;
      const order = String(permutations[results.indexOf(found)]);
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(told).toBeGreaterThan(480);
    expect(counts.size).toBe(24);
    const expected = told / 24;
    // Chi-squared with 23 degrees of freedom exceeds 49.7 once in a thousand seeds.
    expect([...counts.values()].reduce((sum, c) => sum + (c - expected) ** 2 / expected, 0)).toBeLessThan(49.7);
  });
});

describe('random erasing', () => {
  const size = 32;
  const n = 6000;
  const erase = (planes: Float32Array, offset: number, erasing: RandomErasing, stream: PhiloxStream): void =>
    fillBoxes(planes, offset, size, size, drawErasing(size, size, erasing, stream));

  // timm: `for attempt in range(10)`.
  it('tries ten times to find a box that is smaller than the image', () => {
    let tries = 0;
    const uniform = (low: number, high: number): number => {
      if (low > 0) tries++;
      return high;
    };
    const none = { area: [1, 1], aspect: [1, 1], count: 1 } as const;
    expect(erasingRect(size, size, none, { uniform, integer: () => 0 })).toBeUndefined();
    expect(tries).toBe(10);
  });

  it('draws boxes of the stated area and aspect, everywhere', () => {
    const areas: number[] = [];
    const aspects: number[] = [];
    const corners = new Set<string>();
    for (let i = 0; i < n; i++) {
      const rect = erasingRect(size, size, deitErasing, draws(i))!;
      expect(rect.left >= 0 && rect.top >= 0).toBe(true);
      expect(rect.left + rect.width <= size && rect.top + rect.height <= size).toBe(true);
      expect(rect.width < size && rect.height < size).toBe(true);
      areas.push((rect.width * rect.height) / size ** 2);
      aspects.push(rect.height / rect.width);
      if (rect.left === 0 && rect.top === 0) corners.add('top left');
      if (rect.left + rect.width === size && rect.top + rect.height === size) corners.add('bottom right');
    }
    // Sides of 3 pixels at the least, rounded by half a pixel at most: a sixth of the side, so a third of the area.
    expect(Math.min(...areas)).toBeGreaterThan(0.02 * (2 / 3));
    expect(Math.max(...areas)).toBeLessThan((1 / 3) * 1.1);
    expect(Math.max(...aspects)).toBeLessThan((1 / 0.3) * 1.4);
    expect(Math.min(...aspects)).toBeGreaterThan(0.3 / 1.4);
    expect(corners.size).toBe(2);
    // Uniform area: mean (0.02 + 1/3) / 2 = 0.1767, spread 0.0905 / sqrt(6000) = 0.0012. Proposals that reach the border
    // are drawn anew, which takes away large oblong boxes: the mean may only be lower, by under 0.012.
    const mean = areas.reduce((a, b) => a + b, 0) / n;
    expect(mean).toBeLessThan(0.1767 + 0.005);
    expect(mean).toBeGreaterThan(0.1767 - 0.017);
  });

  it('erases a quarter of the images with standard normal noise, independent by channel', () => {
    let erased = 0;
    let [count, sum, squares] = [0, 0, 0];
    for (let i = 0; i < n; i++) {
      const planes = new Float32Array(3 * size * size + 7).fill(50);
      erase(planes, 7, deitErasing, draws(i));
      expect(planes.subarray(0, 7).every((value) => value === 50)).toBe(true);
      const changed = planes.reduce((total, value) => total + (value === 50 ? 0 : 1), 0);
      if (changed === 0) continue;
      erased++;
      expect(changed % 3).toBe(0);
      if (erased > 200) continue;
      for (const value of planes) {
        if (value === 50) continue;
        count++;
        sum += value;
        squares += value * value;
      }
    }
    expect(Math.abs(erased - n / 4)).toBeLessThan(4 * Math.sqrt((n * 3) / 16));
    expect(Math.abs(sum / count)).toBeLessThan(4 / Math.sqrt(count));
    expect(Math.abs(squares / count - 1)).toBeLessThan(4 * Math.sqrt(2 / count));
  });

  it('draws the noise that the stream would give one by one, and leaves it behind the last draw', () => {
    for (let skipped = 0; skipped < 4; skipped++) {
      const [stream, plain] = [draws(skipped), draws(skipped)];
      for (const one of [stream, plain]) for (let i = 0; i < skipped; i++) one.word();
      const planes = new Float32Array(3 * size * size);
      erase(planes, 0, { ...deitErasing, probability: 1 }, stream);
      plain.uniform();
      const rect = erasingRect(size, size, deitErasing, plain)!;
      for (let channel = 0; channel < 3; channel++) {
        for (let y = rect.top; y < rect.top + rect.height; y++) {
          for (let x = rect.left; x < rect.left + rect.width; x++) {
            const expected = plain.normal();
            // Logarithm and cosine of two libraries, in double precision, then one rounding to single.
            const error = Math.abs(planes[(channel * size + y) * size + x] - expected);
            expect(error).toBeLessThan(1.2e-7 * Math.max(1, Math.abs(expected)));
          }
        }
      }
      expect(stream.word()).toBe(plain.word());
    }
  });

  it('divides the area between the boxes, as timm', () => {
    // Every draw in the middle: area 20 % of 100 x 100 pixels, aspect 1.
    const middle = { uniform: (low = 0, high = 1) => (low + high) / 2, integer: () => 0 };
    const sides = (count: number): number[] => {
      const rect = erasingRect(100, 100, { area: [0.1, 0.3], aspect: [0.5, 2], count }, middle)!;
      return [rect.width, rect.height];
    };
    // sqrt(2000) = 44.7, sqrt(2000 / 5) = 20, sqrt(2000 / 20) = 10.
    expect([1, 5, 20].map(sides)).toEqual([[45, 45], [20, 20], [10, 10]]); // prettier-ignore
  });

  it('has modes of one colour and of zeros', () => {
    for (const mode of ['rand', 'const'] as const) {
      const planes = new Float32Array(3 * size * size).fill(50);
      erase(planes, 0, { ...deitErasing, mode, probability: 1 }, draws(3));
      const values = [0, 1, 2].map((c) => {
        const plane = planes.subarray(c * size * size, (c + 1) * size * size);
        return [...new Set(plane)].filter((value) => value !== 50);
      });
      expect(values.every((v) => v.length === 1)).toBe(true);
      expect(new Set(values.flat()).size).toBe(mode === 'rand' ? 3 : 1);
      if (mode === 'const') expect(values[0]).toEqual([0]);
    }
  });
});
