import { cast } from '../../kernels/cast.ts';
import { DeitError } from '../../kernels/errors.ts';
import type { DType } from '../dtype.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';

const toOp = defineOp<{ dtype: DType }>({
  name: 'to',
  forward(ctx, [x]) {
    const { dtype } = ctx.attributes;
    const y = ctx.empty(x!.shape, dtype);
    if (y.size > 0) ctx.run(cast, { n: y.size, from: x!.dtype, to: dtype }, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    // Gradients are f32 whatever the dtype of what they belong to.
    ctx.pass(0, dy!);
  },
});

/**
 * The tensor in another element type (itself if it has that already). Floats become integers by dropping the fraction.
 * A gradient passes between f32 and f16. Throws `feature-missing` for f16 on a device without it.
 */
export function to(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  if ((x.dtype === 'f16' || dtype === 'f16') && !x.engine.profile.f16) {
    throw new DeitError('feature-missing', 'This adapter has no f16.', {
      where: `to ${dtype} of ${x.toString()}`,
      expected: 'the feature shader-f16',
      found: x.engine.adapter.name,
      fix: 'stay with f32, or use another adapter',
    });
  }
  return toOp([x], { dtype })[0];
}
