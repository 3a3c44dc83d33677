import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bytesOfElement } from '../lib/f16-storage.ts';
import { require, splitRows } from '../lib/kernel.ts';
import { rectified } from '../lib/math.ts';
import type { RowChunk } from '../lib/kernel.ts';

/** Tensors of a convolution; in a pass that computes or takes the gradient of one, that gradient. */
export type ConvTensor = 'x' | 'weight' | 'y';

/** Sizes and storage of a convolution: see index.ts. */
export interface ConvProblem {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly filters: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly stride: number;
  readonly padding: number;
  readonly groups: number;
  /** Tensors that are f16 in memory; sums are f32 all the same. */
  readonly f16?: readonly ConvTensor[];
}

/** The forward pass of one. */
export interface ConvForwardProblem extends ConvProblem {
  readonly bias: boolean;
  /** Ends with a ReLU; false if left out. */
  readonly relu?: boolean;
  /** y is added to a tensor of its shape, f32, before the ReLU; false if left out. */
  readonly shortcut?: boolean;
}

/** Height and width of the result. */
export function convOutput(p: ConvProblem): [height: number, width: number] {
  const size = (n: number, k: number): number => Math.floor((n + 2 * p.padding - k) / p.stride) + 1;
  return [size(p.height, p.kernelHeight), size(p.width, p.kernelWidth)];
}

/** Bytes of one image in x and in y. */
export function imageBytes(p: ConvProblem): { readonly x: number; readonly y: number } {
  const [height, width] = convOutput(p);
  return {
    x: bytesOfElement(p.f16, 'x') * p.channels * p.height * p.width,
    y: bytesOfElement(p.f16, 'y') * p.filters * height * width,
  };
}

/** Runs of images that a device can bind, with ranges of x, of y, and of the shortcut if there is one. */
export function splitImages(p: ConvForwardProblem | ConvProblem, device: DeviceProfile, kernel: string): RowChunk[] {
  const bytes = imageBytes(p);
  const shortcut = imageBytes({ ...p, f16: [] }).y;
  return splitRows(p.batch, 'shortcut' in p && p.shortcut ? { ...bytes, shortcut } : bytes, device, kernel);
}

/** WGSL: stores `sum` in y, or what else is written, as the forward pass ends. */
export function storeEnded(
  { shortcut = false, relu = false }: Pick<ConvForwardProblem, 'shortcut' | 'relu'>,
  target: string,
  place: string,
  sum: string,
  type: 'f32' | 'vec4f',
): string {
  const value = shortcut ? `${sum} + shortcut[${place}]` : sum;
  if (!relu) return `${target}[${place}] = ${value};`;
  return `{ let ended = ${value}; ${target}[${place}] = ${rectified('ended', type)}; }`;
}

/** Bindings that are f16, of those that hold these tensors. */
export const f16Bindings = ({ f16 = [] }: ConvProblem, bound: Readonly<Record<string, ConvTensor>>): string[] =>
  Object.keys(bound).filter((binding) => f16.includes(bound[binding]));

/** The problem itself, if it is one. */
export function checkConv<Problem extends ConvProblem>(p: Problem): Problem {
  const kernel = 'conv2d';
  const positive = [p.batch, p.channels, p.filters, p.kernelHeight, p.kernelWidth, p.stride, p.groups];
  require(positive.every((n) => Number.isInteger(n) && n >= 1), kernel, 'sizes, stride and groups of at least 1', p);
  require(Number.isInteger(p.padding) && p.padding >= 0, kernel, 'padding of at least 0', p);
  require(p.channels % p.groups === 0 &&
    p.filters % p.groups === 0, kernel, 'groups that divide channels and filters', p);
  require(convOutput(p).every((n) => n >= 1), kernel, 'a padded image at least as large as the kernel', p);
  return p;
}

/** Taps of one axis that reach into the source for at least one pixel; the others only ever meet padding. */
export interface Taps {
  /** Kernel index of the first of them, and its distance to the next. */
  readonly first: number;
  readonly step: number;
  readonly count: number;
  /** Source coordinate of tap number t at pixel u: u * sourceStep + origin + t * direction. */
  readonly origin: number;
}

/** Taps of the forward pass along an axis: source u * stride - padding + k. */
export function forwardTaps(source: number, target: number, kernel: number, stride: number, padding: number): Taps {
  const low = Math.max(0, padding - (target - 1) * stride);
  const high = Math.min(kernel, source + padding);
  return { first: low, step: 1, count: Math.max(0, high - low), origin: low - padding };
}

/**
 * Taps of the input gradient along an axis, for the inputs i = u * stride + phase: they meet the outputs
 * (i + padding - k) / stride for those k that make it whole, that is k = k0 + t * stride and output u + origin - t.
 */
export function gradientTaps(
  p: { pixels: number; outputs: number; kernel: number; stride: number; padding: number },
  phase: number,
): Taps {
  const k0 = (phase + p.padding) % p.stride;
  const start = (phase + p.padding - k0) / p.stride;
  const all = k0 < p.kernel ? ceilDiv(p.kernel - k0, p.stride) : 0;
  // Tap t is of use if u + start - t lies in [0, outputs) for some u in [0, pixels).
  const low = Math.max(0, start - p.outputs + 1);
  const high = Math.min(all, start + p.pixels);
  return { first: k0 + low * p.stride, step: p.stride, count: Math.max(0, high - low), origin: start - low };
}
