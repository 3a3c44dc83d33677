import { DeitError } from '../../kernels/lib/errors.ts';
import type { Tensor } from '../tensor.ts';

/** Throws `dtype-mismatch` unless the tensor is f32, or f16 inside `autocast`, where operators convert it. */
export function expectFloat(x: Tensor, where: string): void {
  if (x.dtype === 'f32' || (x.dtype === 'f16' && x.engine.halfCopies)) return;
  throw new DeitError('dtype-mismatch', 'The operator takes f32 tensors.', {
    where,
    expected: 'f32',
    found: x.toString(),
    fix: "convert with to(x, 'f32')",
  });
}
