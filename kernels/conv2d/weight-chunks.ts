import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { elementwise } from '../lib/elementwise.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { splitImages } from './problem.ts';
import type { ConvProblem } from './problem.ts';

/*
 * The weight gradient sums over all images and pixels. The sum is cut into chunks, which each write a partial result; these are
 * added in order.
 */

/** Most terms of one running sum, so that rounding errors stay small. */
export const LONGEST_SUM = 4096;

/** A run of images, bound at once, and the chunks it is cut into. */
export interface Part {
  readonly batch: number;
  readonly firstChunk: number;
  readonly chunks: number;
  readonly itemsPerChunk: number;
  readonly ranges: Readonly<Record<string, { offset: number; size: number } | undefined>>;
}

/** How the sum is cut: into some `wanted` chunks of each run of images, of at least `least` and at most `most` items. */
export interface Cut {
  readonly itemsPerImage: number;
  readonly wanted: number;
  readonly least: number;
  readonly most: number;
  /** Chunks but the last of a part have a multiple of so many items, which divides `most`; 1 if left out. */
  readonly unit?: number;
}

/** The parts of the sum, and how many chunks they have together. */
export function cutImages(p: ConvProblem, device: DeviceProfile, cut: Cut): { parts: Part[]; chunks: number } {
  const { itemsPerImage, wanted, least, most, unit = 1 } = cut;
  let chunks = 0;
  const parts = splitImages(p, device, 'conv2d.weight_gradient').map(({ rows: batch, ranges }) => {
    const items = batch * itemsPerImage;
    const share = Math.max(least, ceilDiv(items, wanted));
    const itemsPerChunk = Math.min(most, ceilDiv(share, unit) * unit);
    const part = { batch, firstChunk: chunks, chunks: ceilDiv(items, itemsPerChunk), itemsPerChunk, ranges };
    chunks += part.chunks;
    return part;
  });
  return { parts, chunks };
}

/** Partial results: their number, the elements from one to the next, and the only tap that they have if not all. */
export interface Partials {
  readonly chunks: number;
  readonly stride: number;
  readonly onlyTap: number | null;
}

/** dw = the sum of the partial results, in order; zero for taps that they leave out. */
export function total(p: ConvProblem, { chunks, stride, onlyTap }: Partials, device: DeviceProfile): Launch[] {
  const taps = p.kernelHeight * p.kernelWidth;
  const expand = onlyTap !== null;
  const type = expand ? 'f32' : 'vec4f';
  return elementwise(
    {
      name: `conv2d.weight_gradient/total${expand ? '_one_tap' : ''}`,
      n: (p.filters * p.channels * taps) / p.groups,
      bindings: [output('dw', 'vec4f')],
      shared: [input('partial', type)],
      uniforms: {
        chunks: u32(chunks),
        chunk_stride: u32(expand ? stride : stride / 4),
        taps: u32(taps),
        tap: u32(onlyTap ?? 0),
      },
      body: /* wgsl */ `
      var sum = vec4f();
      ${
        expand
          ? /* wgsl */ `
      for (var e = 0u; e < 4u; e++) {
        let element = (params.first_vector + i) * 4u + e;
        if (element % params.taps == params.tap) {
          for (var chunk = 0u; chunk < params.chunks; chunk++) {
            sum[e] += partial[chunk * params.chunk_stride + element / params.taps];
          }
        }
      }`
          : /* wgsl */ `
      for (var chunk = 0u; chunk < params.chunks; chunk++) {
        sum += partial[chunk * params.chunk_stride + params.first_vector + i];
      }`
      }
      dw[i] = sum;`,
      flopsPerElement: chunks,
    },
    device,
  );
}
