import { collect as collectKernel } from '../../kernels/collect/index.ts';
import { defineOp } from '../op.ts';
import { formatShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { DeitError } from '../../kernels/lib/errors.ts';

const collectOp = defineOp<object>({
  name: 'collect',
  forward(ctx, scalars) {
    const y = ctx.empty([scalars.length]);
    const named = Object.fromEntries(scalars.map((tensor, i) => [`s${i}`, tensor!]));
    ctx.run(collectKernel, { count: scalars.length }, { ...named, y });
    return [y];
  },
  backward: null,
});

/** Scalars of dtype f32 gathered into one tensor [n], for reading them together. Has no gradient: pass detached tensors. */
export function collect(scalars: readonly Tensor[]): Tensor {
  for (const tensor of scalars) {
    if (tensor.size === 1 && tensor.dtype === 'f32') continue;
    throw new DeitError('shape-mismatch', 'collect() takes f32 tensors of one element.', {
      where: 'collect',
      found: `${formatShape(tensor.shape)} ${tensor.dtype}`,
    });
  }
  return collectOp(
    scalars.map((tensor) => tensor.detach()),
    {},
  )[0];
}
