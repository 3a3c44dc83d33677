import { convForward, convOutput, foldNorm } from '../../kernels/conv2d/index.ts';
import type { ConvProblem } from '../../kernels/conv2d/index.ts';
import { defineOp } from '../op.ts';
import type { OpDefinition } from '../op.ts';
import { expectShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { convProblem, inStorage } from './conv-problem.ts';
import type { ConvOptions } from './conv-problem.ts';

export interface ConvBatchNormOptions extends ConvOptions {
  /** Added to the variance; 1e-5 if left out. */
  eps?: number;
  /** Ends with a ReLU; default false. */
  relu?: boolean;
  /** Added to the result before the ReLU, f32 and of its shape. */
  shortcut?: Tensor | null;
}

interface Attributes extends ConvProblem {
  readonly eps: number;
  readonly relu: boolean;
}

const definition: Omit<OpDefinition<Attributes>, 'name' | 'precision'> = {
  forward(ctx, inputs) {
    const { eps, relu, ...problem } = ctx.attributes;
    const [x, weight, scale, shift, mean, variance, shortcut] = inputs as Tensor[];
    const { batch, filters } = problem;
    const y = ctx.result([batch, filters, ...convOutput(problem)]);
    const folded = ctx.empty(weight.shape, x.dtype);
    const bias = ctx.empty([filters]);
    ctx.run(
      foldNorm,
      { filters, depth: weight.size / filters, eps, ...(folded.dtype === 'f16' && { f16: ['folded' as const] }) },
      { weight, scale, shift, mean, variance, folded, bias },
    );
    const own = {
      ...inStorage(problem, { x, weight: folded, y }),
      bias: true,
      ...(relu && { relu }),
      ...(shortcut && { shortcut: true }),
    };
    ctx.run(convForward, own, { x, weight: folded, y, bias, ...(shortcut && { shortcut }) });
    return [y];
  },
  resultShape: (problem) => [problem.batch, problem.filters, ...convOutput(problem)],
  backward: null,
};

/** As batch norm's, its result is f16 where a product takes it first. */
const convBatchNormOp = defineOp<Attributes>({
  ...definition,
  name: 'convBatchNorm',
  precision: { operands: ['f16'], result: 'consumer' },
});

/** As a sum's, its result is f32. */
const convBatchNormAddOp = defineOp<Attributes>({
  ...definition,
  name: 'convBatchNormAdd',
  precision: { operands: ['f16'] },
});

/**
 * Batch norm, in evaluation mode, of a convolution without bias, as one convolution: the scale and shift of each channel become
 * part of the filters, and no pass over the image remains of the norm. x and weight as for `conv2d`, the rest as for
 * `batchNorm`. With a shortcut, that is added to it. There is no gradient: throws where one would be recorded.
 */
export function convBatchNorm(
  x: Tensor,
  weight: Tensor,
  norm: { readonly weight: Tensor; readonly bias: Tensor; readonly mean: Tensor; readonly variance: Tensor },
  { eps = 1e-5, relu = false, shortcut = null, ...options }: ConvBatchNormOptions = {},
): Tensor {
  const problem = convProblem(x, weight, options, 'convBatchNorm');
  for (const [what, tensor] of Object.entries(norm)) {
    expectShape(tensor.shape, [problem.filters], 'convBatchNorm', `the norm's ${what}`);
  }
  const operands = [x, weight, norm.weight, norm.bias, norm.mean, norm.variance];
  const attributes = { ...problem, eps, relu };
  if (!shortcut) return convBatchNormOp(operands, attributes)[0];
  const shape = [problem.batch, problem.filters, ...convOutput(problem)];
  expectShape(shortcut.shape, shape, 'convBatchNorm', 'the shortcut');
  return convBatchNormAddOp([...operands, shortcut], attributes)[0];
}
