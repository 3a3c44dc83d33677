import { DeitError, storeFloats, toFloat32 } from '../../engine/index.ts';
import type { StoredTensor } from '../../engine/index.ts';

/** 65,520 is the first number that rounds to infinity. */
const FIRST_INFINITE = 65_520;

/** A tensor of f32 as f16, rounded to nearest; others as they are. Throws `non-finite` for a number that has none. */
export function toF16(name: string, tensor: StoredTensor): StoredTensor {
  if (tensor.dtype !== 'F32') return tensor;
  const values = toFloat32(tensor);
  const beyond = values.find((value) => !(Math.abs(value) < FIRST_INFINITE));
  if (beyond === undefined) return storeFloats(values, tensor.shape, 'F16');
  throw new DeitError('non-finite', 'A weight has no finite value in f16.', {
    where: name,
    found: String(beyond),
    fix: Number.isFinite(beyond) ? 'export in f32' : undefined,
  });
}
