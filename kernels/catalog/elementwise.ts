/** Operators that compute, draw or move elements one by one. */
import { accumulate } from '../accumulate/index.ts';
import { binaryForward, binaryFormulas, binaryGradient } from '../binary/index.ts';
import type { BinaryName } from '../binary/index.ts';
import { cast } from '../cast/index.ts';
import type { CastType } from '../cast/index.ts';
import { dropPath, dropPathScales } from '../drop-path/index.ts';
import { dropout } from '../dropout/index.ts';
import { fill } from '../fill/index.ts';
import { geluBackward, geluForward } from '../gelu/index.ts';
import type { GeluApproximation } from '../gelu/index.ts';
import { indexSelect, indexSelectGradient } from '../index-select/index.ts';
import { mix } from '../mix/index.ts';
import { normalizeImages } from '../normalize-images/index.ts';
import { randomNormal, randomUniform } from '../random/index.ts';
import { pad, stridedLoad } from '../shape/index.ts';
import { softTargets } from '../soft-targets/index.ts';
import { unaryBackward, unaryForward, unaryFormulas } from '../unary/index.ts';
import type { UnaryName } from '../unary/index.ts';
import { of, operator } from './operator.ts';
import type { Operator } from './operator.ts';

const elements = { n: 1024 };
const draw = { seed: 1, purpose: 0, stream: 0 };

const unary = (op: UnaryName): Operator =>
  operator({
    folder: 'unary',
    sizes: elements,
    forward: ({ n }) => [of(unaryForward, { op, n })],
    backward: ({ n }) => [of(unaryBackward, { op, n })],
  });

const binary = (op: BinaryName): Operator => {
  const problem = ({ shape, a, b }: Record<'shape' | 'a' | 'b', readonly number[]>) => ({
    op,
    shape,
    a: { shape: a },
    b: { shape: b },
  });
  const own = operator({
    folder: 'binary',
    sizes: { shape: [8, 192], a: [8, 192], b: [192] },
    forward: (p) => [of(binaryForward, problem(p))],
    backward: (p) => ([0, 1] as const).map((side) => of(binaryGradient, { ...problem(p), side })),
  });
  return binaryFormulas[op].gradients ? own : { ...own, backward: null };
};

const namesOf = <Name extends string>(table: Readonly<Record<Name, unknown>>): Name[] => Object.keys(table) as Name[];

export const elementwiseOperators: Readonly<Record<string, Operator>> = {
  ...Object.fromEntries(namesOf(unaryFormulas).map((op) => [op, unary(op)])),
  ...Object.fromEntries(namesOf(binaryFormulas).map((op) => [op, binary(op)])),
  gelu: operator({
    folder: 'gelu',
    sizes: elements,
    options: { approximate: 'none' as GeluApproximation, f16: false },
    choices: { approximate: ['none', 'tanh'] },
    forward: (p) => [of(geluForward, p)],
    backward: (p) => [of(geluBackward, p)],
  }),
  dropout: operator({
    folder: 'dropout',
    sizes: elements,
    options: { rate: 0.1, ...draw },
    forward: (p) => [of(dropout, p)],
    backward: (p) => [of(dropout, p)],
  }),
  drop_path: operator({
    folder: 'drop-path',
    sizes: { samples: 8, inner: 37824 },
    options: { rate: 0.1, add: true, f16: false, ...draw },
    forward: (p) => [of(dropPath, p), of(dropPathScales, p)],
    backward: (p) => [of(dropPath, { ...p, add: false })],
  }),
  random_uniform: operator({
    folder: 'random',
    sizes: elements,
    options: { low: 0, high: 1, ...draw },
    forward: (p) => [of(randomUniform, p)],
  }),
  random_normal: operator({
    folder: 'random',
    sizes: elements,
    options: { mean: 0, std: 1, ...draw },
    forward: (p) => [of(randomNormal, p)],
  }),
  fill: operator({
    folder: 'fill',
    sizes: elements,
    options: { value: 0 },
    forward: (p) => [of(fill, p)],
  }),
  cast: operator({
    folder: 'cast',
    sizes: elements,
    options: { from: 'f32' as CastType, to: 'i32' as CastType },
    choices: { from: ['f32', 'f16', 'i32', 'u32'], to: ['f32', 'f16', 'i32', 'u32'] },
    forward: (p) => [of(cast, p)],
  }),
  accumulate: operator({
    folder: 'accumulate',
    sizes: elements,
    options: { f16: false },
    forward: (p) => [of(accumulate, p)],
  }),
  index_select: operator({
    folder: 'index-select',
    sizes: { outer: 8, length: 197, inner: 192, count: 49 },
    options: { invalid: 0x7fc00000 },
    forward: (p) => [of(indexSelect, p)],
    backward: (p) => [of(indexSelectGradient, p)],
  }),
  transpose: operator({
    folder: 'shape',
    sizes: { batch: 8, rows: 64, columns: 32 },
    forward: ({ batch, rows, columns }) => [
      of(stridedLoad, {
        dims: [
          { size: batch, stride: rows * columns },
          { size: columns, stride: 1 },
          { size: rows, stride: columns },
        ],
        offset: 0,
      }),
    ],
  }),
  pad: operator({
    folder: 'shape',
    sizes: { outer: 8, rows: 32, columns: 32 },
    options: { left: 4, right: 4, top: 4, bottom: 4 },
    forward: (p) => [of(pad, p)],
  }),
  mix: operator({
    folder: 'mix',
    sizes: { batch: 8, channels: 3, height: 32, width: 32 },
    forward: (p) => [of(mix, p)],
  }),
  normalize_images: operator({
    folder: 'normalize-images',
    sizes: { batch: 8, height: 32, width: 32 },
    options: { boxes: 1 },
    forward: (p) => [of(normalizeImages, p)],
  }),
  soft_targets: operator({
    folder: 'soft-targets',
    sizes: { batch: 8, classes: 10 },
    options: { smoothing: 0.1 },
    forward: (p) => [of(softTargets, p)],
  }),
};
