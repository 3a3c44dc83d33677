/** Against test/golden/pillow.* and mixing.json: images and boxes made by Pillow, torchvision and timm. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { augmentOps } from '../../deit/data/augment-ops.ts';
import type { AugmentOp } from '../../deit/data/augment-ops.ts';
import type { RgbImage } from '../../deit/data/dataset.ts';
import { cutmixBox, softTargets } from '../../deit/data/mixing.ts';
import { deitErasing, erasingRect } from '../../deit/data/random-erasing.ts';
import { resize } from '../../deit/data/resize.ts';
import type { Interpolation } from '../../deit/data/resize.ts';
import { crop } from '../../deit/data/crop.ts';
import { centerCrop, resizeShorterSide } from '../../deit/data/transforms.ts';
import { PhiloxStream, Purpose } from '../../engine/index.ts';
import { parseSafetensors } from '../../engine/safetensors.ts';

const golden = (name: string): Buffer => readFileSync(new URL(`../golden/${name}`, import.meta.url));

interface Attributes {
  filter: Interpolation;
  left: number;
  top: number;
  width: number;
  height: number;
  size: number;
  shorter: number;
  level: number;
  argument: number | null;
}
interface GoldenImage {
  op: string;
  image: string;
  attrs: Attributes;
  output: string;
}

const rows = JSON.parse(golden('pillow.json').toString()) as GoldenImage[];
const { tensors } = parseSafetensors(golden('pillow.safetensors'));

function image(name: string): RgbImage {
  const { shape, bytes } = tensors.get(name)!;
  return { height: shape[0], width: shape[1], data: bytes };
}

const context = { fill: [124, 116, 104], interpolation: 'bicubic' } as const;

function run({ op, attrs, image: name }: GoldenImage): RgbImage {
  const { filter, width, height, size } = attrs;
  const source = image(name);
  switch (op) {
    case 'resize':
      return resize(source, width, height, filter);
    case 'cropResize':
      return resize(crop(source, attrs), size, size, filter);
    case 'centerCrop':
      return centerCrop(source, size);
    case 'resizeCenterCrop':
      return centerCrop(resizeShorterSide(source, attrs.shorter, filter), size);
  }
  const augment: AugmentOp = augmentOps[op as keyof typeof augmentOps];
  // The pictures of special shape were made with a stated factor instead of a level.
  if (attrs.argument !== null && ['image.noise', 'image.smooth'].includes(name)) {
    // One of the two signs gives timm's argument at this level.
    const drawn = Array.from({ length: 16 }, (_, i) =>
      augment.argument(attrs.level, new PhiloxStream(i, Purpose.test)),
    );
    expect(drawn.map((value) => value + 0)).toContain(attrs.argument);
  }
  return augment.apply(source, attrs.argument ?? 0, context);
}

describe('golden images', () => {
  it.each([...new Set(rows.map(({ op }) => op))])('%s', (op) => {
    for (const row of rows.filter((r) => r.op === op)) {
      const [found, expected] = [run(row), image(row.output)];
      const label = `${op} ${JSON.stringify(row.attrs)} of ${row.image}`;
      expect([found.width, found.height], label).toEqual([expected.width, expected.height]);
      const worst = found.data.reduce((most, value, i) => Math.max(most, Math.abs(value - expected.data[i])), 0);
      expect(worst, label).toBe(0);
    }
  });
});

interface GoldenMixing {
  cutmix: {
    height: number;
    width: number;
    lambda: number;
    centerX: number;
    centerY: number;
    box: number[];
    correctedLambda: number;
  }[];
  targets: { classes: number; lambda: number; smoothing: number; labels: number[]; targets: number[][] }[];
  erasing: {
    height: number;
    width: number;
    attempts: [number, number][];
    top: number;
    left: number;
    used: number;
    box: number[];
  }[];
}
const mixing = JSON.parse(golden('mixing.json').toString()) as GoldenMixing;

describe('golden boxes and targets', () => {
  it('cuts the boxes of timm 0.3.2', () => {
    for (const { height, width, lambda, centerX, centerY, box, correctedLambda } of mixing.cutmix) {
      const { top, bottom, left, right } = cutmixBox(width, height, lambda, centerX, centerY);
      expect([top, bottom, left, right]).toEqual(box);
      expect(1 - ((bottom - top) * (right - left)) / (width * height)).toBe(correctedLambda);
    }
  });

  it('makes the mixed targets', () => {
    for (const { classes, lambda, smoothing, labels, targets } of mixing.targets) {
      const found = softTargets(Int32Array.from(labels), classes, smoothing, lambda);
      // timm's are float32 sums of two products: two roundings of values below 1.
      targets.flat().forEach((value, i) => expect(Math.abs(found[i] - value)).toBeLessThan(2e-7));
    }
  });

  it('erases the boxes of scripted draws', () => {
    for (const { height, width, attempts, top, left, used, box } of mixing.erasing) {
      const uniforms = attempts.flat();
      const integers = [top, left];
      const draws = { uniform: () => uniforms.shift()!, integer: () => integers.shift()! };
      const rect = erasingRect(width, height, deitErasing, draws)!;
      expect([rect.top, rect.top + rect.height, rect.left, rect.left + rect.width]).toEqual(box);
      expect(attempts.length - uniforms.length / 2).toBe(used);
    }
  });
});
