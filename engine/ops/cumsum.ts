import { cumsum as cumsumKernel } from '../../kernels/cumsum/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import { normalizeDim, numel } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

const cumsumOp = defineOp<{ outer: number; length: number; inner: number }>({
  name: 'cumsum',
  forward(ctx, [x]) {
    const y = ctx.empty(x!.shape);
    if (y.size > 0) ctx.run(cumsumKernel, { ...ctx.attributes, reversed: false }, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    const dx = ctx.gradient(0);
    if (dx.size > 0) ctx.run(cumsumKernel, { ...ctx.attributes, reversed: true }, { x: dy!, y: dx });
  },
});

/** The sums of all elements up to each one along `dim`, itself included. */
export function cumsum(x: Tensor, dim: number): Tensor {
  expectFloat(x, 'cumsum');
  const d = normalizeDim(dim, x.rank, 'cumsum');
  const { shape } = x;
  const problem = { outer: numel(shape.slice(0, d)), length: shape[d] ?? 1, inner: numel(shape.slice(d + 1)) };
  return cumsumOp([x], problem)[0];
}
