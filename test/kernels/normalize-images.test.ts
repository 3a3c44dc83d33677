import { describe, expect, it } from 'vitest';
import { BOX_WORDS, normalizeImages, readBox, writeBox } from '../../engine/node.ts';
import type { ErasedBox } from '../../engine/node.ts';
import { normalizeImagesReference } from '../../kernels/normalize-images/reference.ts';
import { Purpose } from '../../kernels/lib/philox.ts';
import { expectClose, uniform } from '../support/close.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

const noise = (image: number, word: number): ErasedBox['fill'] => ({
  seed: 4_000_000_007,
  purpose: Purpose.augment,
  step: 3,
  stream: 2 ** 28 + image,
  word,
});

/** By image: none; one of a colour; noise from every place in a block of four words, over a box of a colour. */
const boxesOf = (image: number): ErasedBox[] => {
  if (image === 0) return [];
  const colour = { top: 0, left: 1, height: 2, width: 4, fill: [0.25, -1.5, 2] as const };
  return image === 1 ? [colour] : [colour, { top: 1, left: 0, height: 3, width: 3, fill: noise(image, 5 + image) }];
};

const packed = (bytes: Uint8Array): Uint32Array => {
  const whole = new Uint8Array(4 * Math.ceil(bytes.length / 4));
  whole.set(bytes);
  return new Uint32Array(whole.buffer);
};

describe.each(PROFILES)('normalizeImages on $name', ({ claims }) => {
  const engine = useEngineAs(claims);

  it.each([
    [6, 5, 7],
    [1, 1, 1],
    [3, 16, 16],
  ])('%i images of %i x %i, erased and not', async (batch, height, width) => {
    const pixels = Uint8Array.from({ length: 3 * batch * height * width }, (_, i) => (i * 97 + (i >> 5)) & 255);
    const table = uniform(768, 3);
    for (const isErased of height > 4 ? [false, true] : [false]) {
      const boxes = Array.from({ length: batch }, (_, image) => (isErased ? boxesOf(image) : []));
      const words = new Uint32Array(batch * 2 * BOX_WORDS);
      boxes.forEach((own, image) => own.forEach((box, b) => writeBox(words, (2 * image + b) * BOX_WORDS, box)));
      const images = engine().empty([batch, 3, height, width]);
      normalizeImages(
        {
          pixels: engine().tensor(packed(pixels), [Math.ceil(pixels.length / 4)], 'u32'),
          table: engine().tensor(table, [3, 256]),
          boxes: isErased ? engine().tensor(words, [words.length], 'u32') : null,
        },
        images,
      );
      const expected = normalizeImagesReference({ batch, height, width }, pixels, table, boxes);
      const found = await images.read();
      if (!isErased) expect([...found]).toEqual(expected);
      // Noise up to about 5: logarithm, root and cosine within a few units of f32's last place each.
      else expectClose(found, expected, 2e-6);
    }
  });
});

it('a box is read as it was written', () => {
  const words = new Uint32Array(3 * BOX_WORDS);
  boxesOf(4).forEach((box, b) => writeBox(words, b * BOX_WORDS, box));
  expect([0, 1, 2].map((b) => readBox(words, b * BOX_WORDS))).toEqual([...boxesOf(4), null]);
});

describe('mistakes', () => {
  const engine = useEngineAs({});
  it('are named', () => {
    const [pixels, table] = [engine().tensor([0, 0, 0], [3], 'u32'), engine().zeros([3, 256])];
    const images = engine().empty([1, 3, 2, 3]);
    expect(() => normalizeImages({ pixels, table, boxes: null }, images)).toThrow(/do not fit together/);
  });
});
