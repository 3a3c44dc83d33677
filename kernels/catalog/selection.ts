/** Operators that choose, order or move elements by what others say, and windows on images. */
import { avgPool2d, avgPool2dGradient } from '../avg-pool2d/index.ts';
import { cumsum } from '../cumsum/index.ts';
import { gatherElements, gatherGradient } from '../gather/index.ts';
import { interpolate, interpolateGradient } from '../interpolate/index.ts';
import type { InterpolationMode } from '../interpolate/index.ts';
import type { WindowProblem } from '../lib/window.ts';
import { maxPool2dGradient, maxPool2dIndex } from '../max-pool2d/index.ts';
import { scatterElements } from '../scatter/index.ts';
import { argsort } from '../sort/index.ts';
import { where, whereGradient } from '../where/index.ts';
import { of, operator } from './operator.ts';

/** What an index out of range gives. */
const NAN_BITS = 0x7fc00000;

const lines = { outer: 8, length: 197, inner: 24, count: 49 };

const images = { planes: 64, height: 14, width: 14 };
const square = { kernel: 3, stride: 2, padding: 1 };

/** A window as wide as it is high. */
function windowOf(p: typeof images & typeof square): WindowProblem {
  const { planes, height, width, kernel, stride, padding } = p;
  const count = (size: number): number => Math.floor((size + 2 * padding - kernel) / stride) + 1;
  const both = (size: number) => [size, size] as const;
  const windows = [count(height), count(width)] as const;
  return {
    planes,
    height,
    width,
    kernel: both(kernel),
    stride: both(stride),
    padding: both(padding),
    dilation: both(1),
    windows,
  };
}

/** The values of the first `count` indices in order. */
const gathered = ({ outer, length, inner }: Omit<typeof lines, 'count'>, count: number) => ({
  ...{ outer, length, inner, count },
  invalid: NAN_BITS,
});

export const selectionOperators = {
  where: operator({
    folder: 'where',
    sizes: { shape: [8, 192], condition: [8, 192], a: [192], b: [8, 192] },
    forward: ({ shape, condition, a, b }) => [
      of(where, { shape, condition: { shape: condition }, a: { shape: a }, b: { shape: b } }),
    ],
    backward: ({ shape, condition }) =>
      ([0, 1] as const).map((side) => of(whereGradient, { shape, condition: { shape: condition }, side })),
  }),
  gather: operator({
    folder: 'gather',
    sizes: lines,
    options: { invalid: NAN_BITS },
    forward: (p) => [of(gatherElements, p)],
    backward: (p) => [of(gatherGradient, p)],
  }),
  scatter: operator({
    folder: 'scatter',
    sizes: lines,
    options: { mode: 'replace' as 'replace' | 'add' | 'mask' },
    choices: { mode: ['replace', 'add', 'mask'] },
    forward: (p) => [of(scatterElements, p)],
    backward: (p) => [of(scatterElements, { ...p, mode: 'mask' })],
  }),
  cumsum: operator({
    folder: 'cumsum',
    sizes: { outer: 8, length: 197, inner: 1 },
    options: { reversed: false },
    forward: (p) => [of(cumsum, p)],
    backward: (p) => [of(cumsum, { ...p, reversed: true })],
  }),
  argsort: operator({
    folder: 'sort',
    sizes: { outer: 8, length: 5000, inner: 1 },
    options: { descending: false },
    forward: (p) => [of(argsort, p)],
  }),
  sort: operator({
    folder: 'sort',
    sizes: { outer: 8, length: 5000, inner: 1 },
    options: { descending: false },
    forward: (p) => [of(argsort, p), of(gatherElements, gathered(p, p.length))],
    backward: (p) => [of(gatherGradient, gathered(p, p.length))],
  }),
  topk: operator({
    folder: 'sort',
    sizes: { outer: 8, length: 5000, inner: 1, count: 5 },
    options: { largest: true },
    forward: (p) => [of(argsort, { ...p, descending: p.largest }), of(gatherElements, gathered(p, p.count))],
    backward: (p) => [of(gatherGradient, gathered(p, p.count))],
  }),
  max_pool2d: operator({
    folder: 'max-pool2d',
    sizes: images,
    options: square,
    forward: (p) => [of(maxPool2dIndex, windowOf(p))],
    backward: (p) => [of(maxPool2dGradient, windowOf(p))],
  }),
  avg_pool2d: operator({
    folder: 'avg-pool2d',
    sizes: images,
    options: { ...square, countIncludePad: true },
    forward: (p) => [of(avgPool2d, { ...windowOf(p), countIncludePad: p.countIncludePad })],
    backward: (p) => [of(avgPool2dGradient, { ...windowOf(p), countIncludePad: p.countIncludePad })],
  }),
  interpolate: operator({
    folder: 'interpolate',
    sizes: { outer: 64, length: 14, size: 28, inner: 14 },
    options: { mode: 'bilinear' as InterpolationMode, alignCorners: false },
    choices: { mode: ['nearest', 'bilinear', 'bicubic'] },
    forward: (p) => [of(interpolate, p)],
    backward: (p) => [of(interpolateGradient, p)],
  }),
};
