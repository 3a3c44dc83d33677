import { cast } from '../../kernels/cast/index.ts';
import { expectHalf } from '../autocast.ts';
import type { DType } from '../dtype.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';

const toOp = defineOp<{ dtype: DType }>({
  name: 'to',
  half: true,
  forward(ctx, [x]) {
    const { dtype } = ctx.attributes;
    const y = ctx.empty(x!.shape, dtype);
    if (y.size > 0) ctx.run(cast, { n: y.size, from: x!.dtype, to: dtype }, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    const { dtype } = ctx.attributes;
    const dx = ctx.gradient(0);
    if (dx.size > 0) ctx.run(cast, { n: dx.size, from: dtype, to: dx.dtype }, { x: dy!, y: dx });
  },
});

/**
 * The tensor in another element type (itself if it has that already). Floats become integers by dropping the fraction.
 * A gradient passes between f32 and f16, rounded likewise: it has the dtype of its tensor. Throws `feature-missing` for f16 on a device without it.
 */
export function to(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  if (x.dtype === 'f16' || dtype === 'f16') expectHalf(x.engine, `to ${dtype} of ${x.toString()}`);
  return toOp([x], { dtype })[0];
}
