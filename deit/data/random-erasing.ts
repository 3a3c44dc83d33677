/**
 * Random erasing (Zhong et al. 2017) of a normalized image, as timm's RandomErasing. Browser-safe.
 */
import type { ErasedBox, ErasingNoise, PhiloxStream } from '../../engine/index.ts';
import type { Rect } from './crop.ts';
import { roundHalfEven } from './transforms.ts';
import { allocate, floatsAt, inKernelMemory, kernels } from './wasm/memory.ts';

export interface RandomErasing {
  /** Probability that an image is erased at all. */
  probability: number;
  /** `pixel`: normal noise for every element; `rand`: one normal value a channel; `const`: zeros (the mean colour). */
  mode: 'pixel' | 'rand' | 'const';
  /** Boxes an image; the area of each is divided by it. */
  count: number;
  /** Range of the erased part of the area. */
  area: readonly [number, number];
  /** Range of height / width, log-uniform. */
  aspect: readonly [number, number];
}

/** DeiT's: probability 0.25, one box of 2 % to a third of the area, normal noise. */
export const deitErasing: RandomErasing = {
  probability: 0.25,
  mode: 'pixel',
  count: 1,
  area: [0.02, 1 / 3],
  aspect: [0.3, 1 / 0.3],
};

/** One box, or undefined if ten tries found none that is smaller than the image on both sides. */
export function erasingRect(
  width: number,
  height: number,
  erasing: Pick<RandomErasing, 'area' | 'aspect' | 'count'>,
  draws: Pick<PhiloxStream, 'uniform' | 'integer'>,
): Rect | undefined {
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = (draws.uniform(erasing.area[0], erasing.area[1]) * width * height) / erasing.count;
    const aspect = Math.exp(draws.uniform(Math.log(erasing.aspect[0]), Math.log(erasing.aspect[1])));
    const h = roundHalfEven(Math.sqrt(area * aspect));
    const w = roundHalfEven(Math.sqrt(area / aspect));
    if (w < width && h < height) {
      const top = draws.integer(height - h + 1);
      return { top, left: draws.integer(width - w + 1), width: w, height: h };
    }
  }
  return undefined;
}

/** The boxes that are erased of an image, with what fills them. */
export function drawErasing(
  width: number,
  height: number,
  erasing: RandomErasing,
  draws: PhiloxStream,
): readonly ErasedBox[] {
  if (draws.uniform() > erasing.probability) return [];
  const boxes: ErasedBox[] = [];
  for (let box = 0; box < erasing.count; box++) {
    const rect = erasingRect(width, height, erasing, draws);
    if (rect) boxes.push({ ...rect, fill: fillOf(rect, erasing.mode, draws) });
  }
  return boxes;
}

function fillOf(rect: Rect, mode: RandomErasing['mode'], draws: PhiloxStream): ErasedBox['fill'] {
  if (mode === 'const') return [0, 0, 0];
  if (mode === 'rand') return [draws.normal(), draws.normal(), draws.normal()];
  const { place } = draws;
  draws.skip(6 * rect.width * rect.height); // three channels, two words a draw
  return place;
}

/** Fills boxes of planes [3, height, width] that start at `offset`. The GPU does the same: engine/ops/normalize-images.ts. */
export function fillBoxes(
  planes: Float32Array,
  offset: number,
  width: number,
  height: number,
  boxes: readonly ErasedBox[],
): void {
  for (const { fill, ...rect } of boxes) {
    const noise = 'word' in fill ? normals(3 * rect.width * rect.height, fill) : null;
    for (let channel = 0; channel < 3; channel++) {
      for (let y = 0; y < rect.height; y++) {
        const row = offset + (channel * height + rect.top + y) * width + rect.left;
        const drawn = (channel * rect.height + y) * rect.width;
        if (noise) planes.set(noise.subarray(drawn, drawn + rect.width), row);
        else planes.fill((fill as readonly number[])[channel], row, row + rect.width);
      }
    }
  }
}

/** Normal draws of a stream from a word of it on, in f32. */
function normals(count: number, { seed, purpose, step, stream, word }: ErasingNoise): Float32Array {
  return inKernelMemory(() => {
    const out = allocate(4 * count);
    kernels().normals(seed, purpose, step, stream, word, out, count);
    return new Float32Array(floatsAt(out, count));
  });
}
