import { argmax as argmaxKernel } from '../../kernels/argmax/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { normalizeDim, numel } from '../tensor-shape.ts';
import { expectElements } from './reduce.ts';

const argmaxOp = defineOp<{ dim: number }>({
  name: 'argmax',
  forward(ctx, [x]) {
    const { dim } = ctx.attributes;
    const { shape } = x!;
    const y = ctx.empty([...shape.slice(0, dim), ...shape.slice(dim + 1)], 'i32');
    const problem = {
      outer: numel(shape.slice(0, dim)),
      reduce: shape[dim] ?? 1,
      inner: numel(shape.slice(dim + 1)),
    };
    ctx.run(argmaxKernel, problem, { x: x!, y });
    return [y];
  },
  backward: null,
});

/** Index of the first largest element along `dim` as i32 (NaN counts as largest). It has no gradient. */
export function argmax(x: Tensor, dim = -1): Tensor {
  expectFloat(x, 'argmax');
  expectElements(x, 'argmax');
  return argmaxOp([x.detach()], { dim: normalizeDim(dim, x.rank, 'argmax') })[0];
}
