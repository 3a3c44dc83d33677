import { expectF16 } from '../autocast.ts';
import type { DType } from '../dtype.ts';
import { convert } from '../op.ts';
import type { Tensor } from '../tensor.ts';

/**
 * The tensor in another element type (itself if it has that already). Floats become integers by dropping the fraction.
 * A gradient passes between f32 and f16, rounded likewise: it has the dtype of its tensor. Throws `feature-missing` for f16 on a device without it.
 */
export function to(x: Tensor, dtype: DType): Tensor {
  if (dtype === 'f32') x.decide();
  if (x.dtype === dtype) return x;
  if (x.dtype === 'f16' || dtype === 'f16') expectF16(x.engine, `to ${dtype} of ${x.toString()}`);
  return convert([x], { dtype })[0];
}
