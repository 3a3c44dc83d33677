import {
  convForward,
  convForwardWays,
  convInputGradient,
  convInputGradientWays,
  convOutput,
  convPartialSize,
  convWeightGradient,
  convWeightGradientWays,
} from '../../kernels/conv2d/index.ts';
import type { ConvProblem, ConvTensor, ConvWay } from '../../kernels/conv2d/index.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Tensor } from '../tensor.ts';
import { roundingOfSums } from '../variants.ts';
import type { Tunable, Way } from '../variants.ts';
import type { Workspace } from './reduce.ts';

/** A convolution with, in the forward pass, a bias. */
type Problem = ConvProblem & { readonly bias: boolean };

/** Each of them itself or its gradient: what a pass computes or takes. */
export interface ConvTensors extends Readonly<Record<ConvTensor, Tensor>> {
  readonly bias?: Tensor | null;
}

interface Pass {
  /** What it writes. */
  readonly result: ConvTensor;
  /** Products that are summed for one element of it. */
  terms(problem: Problem): number;
  readonly ways: (problem: Problem, device: DeviceProfile) => ConvWay[];
  record(ctx: Workspace, problem: Problem, tensors: ConvTensors): void;
}

const taps = ({ kernelHeight, kernelWidth }: Problem): number => kernelHeight * kernelWidth;
const outputs = (problem: Problem): number => convOutput(problem).reduce((height, width) => height * width);

const PASSES = {
  forward: {
    result: 'y',
    terms: (p) => (p.channels / p.groups) * taps(p),
    ways: convForwardWays,
    record(ctx, problem, { x, weight, y, bias }) {
      ctx.run(convForward, problem, { source: x, weight, target_image: y, ...(bias && { bias }) });
    },
  },
  inputGradient: {
    result: 'x',
    terms: (p) => (p.filters / p.groups) * taps(p),
    ways: convInputGradientWays,
    record(ctx, problem, { x, weight, y }) {
      ctx.run(convInputGradient, problem, { source: y, weight, target_image: x });
    },
  },
  weightGradient: {
    result: 'weight',
    terms: (p) => p.batch * outputs(p),
    ways: convWeightGradientWays,
    record(ctx, problem, { x, weight, y }) {
      const partialSize = convPartialSize(problem, x.engine.profile);
      const partial = partialSize > 0 ? ctx.empty([partialSize]) : weight;
      ctx.run(convWeightGradient, problem, { x, dy: y, partial, dw: weight });
    },
  },
} satisfies Record<string, Pass>;

export type ConvPass = keyof typeof PASSES;

/** The ways of a pass, for the tuner. */
function tunable(name: ConvPass): Tunable<Problem, Way & { readonly name: ConvWay }> {
  const pass: Pass = PASSES[name];
  return {
    name: `conv2d.${name}`,
    ways: (problem, device) => pass.ways(problem, device).map((way) => ({ name: way })),
    flops: (p) => (2 * p.batch * p.filters * outputs(p) * p.channels * taps(p)) / p.groups,
    describe(p) {
      const image = [p.batch, p.channels, p.height, p.width].join('x');
      const weight = [p.filters, p.channels / p.groups, p.kernelHeight, p.kernelWidth].join('x');
      return `conv2d (${name}) ${image} by ${weight}, stride ${p.stride}, padding ${p.padding}, groups ${p.groups}`;
    },
    trial(engine, problem, uniform) {
      const { batch, channels, height, width, filters, groups, bias } = problem;
      const make = (name: ConvTensor, size: number): Tensor =>
        uniform([size], problem.half?.includes(name) ? 'f16' : 'f32');
      const tensors = {
        x: make('x', batch * channels * height * width),
        weight: make('weight', (filters * channels * taps(problem)) / groups),
        y: make('y', batch * filters * outputs(problem)),
        bias: bias ? uniform([filters]) : null,
      };
      const ctx: Workspace = {
        empty: (shape) => engine.empty(shape),
        run: (kernel, own, bound) => engine.run('tune', kernel, own, bound),
      };
      return {
        record: ({ name: way }) => pass.record(ctx, { ...problem, way }, tensors),
        results: [tensors[pass.result]],
        // Where f16 is stored, one of two neighbours.
        tolerance: roundingOfSums(pass.terms(problem)) + (problem.half?.includes(pass.result) ? 2 ** -11 : 0),
      };
    },
  };
}

const tunables = {
  forward: tunable('forward'),
  inputGradient: tunable('inputGradient'),
  weightGradient: tunable('weightGradient'),
};

/** Records one pass of a convolution in the way that was measured to be fastest, or in the usual one. */
export function convPass(ctx: Workspace, name: ConvPass, convolution: ConvProblem, tensors: ConvTensors): void {
  const half = (['x', 'weight', 'y'] as const).filter((name) => tensors[name].dtype === 'f16');
  const problem = { ...convolution, bias: Boolean(tensors.bias), ...(half.length > 0 && { half }) };
  const way = tensors.x.engine.variants.find(tunables[name], problem)?.name;
  PASSES[name].record(ctx, way ? { ...problem, way } : problem, tensors);
}
