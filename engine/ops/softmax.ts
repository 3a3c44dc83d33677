import { rowShape } from '../../kernels/lib/rows.ts';
import { softmaxBackward, softmaxForward } from '../../kernels/softmax/index.ts';
import type { SoftmaxProblem } from '../../kernels/softmax/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { OpDefinition } from '../op.ts';
import { normalizeDim } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

const definition = (name: string): OpDefinition<SoftmaxProblem> => ({
  name,
  forward(ctx, [x]) {
    const y = ctx.empty(x!.shape);
    if (y.size > 0) ctx.run(softmaxForward, ctx.attributes, { x: x!, y });
    ctx.save(y);
    return [y];
  },
  backward(ctx, [dy]) {
    const [y] = ctx.saved;
    const dx = ctx.gradient(0);
    if (y.size > 0) ctx.run(softmaxBackward, ctx.attributes, { y, dy: dy!, dx });
  },
});

const softmaxOp = defineOp(definition('softmax'));
const logSoftmaxOp = defineOp(definition('logSoftmax'));

function problemOf(x: Tensor, dim: number, log: boolean, where: string): SoftmaxProblem {
  expectFloat(x, where);
  return { ...rowShape(x.shape, normalizeDim(dim, x.rank, where)), log };
}

/** exp(x) normalised to sum 1 over dimension `dim`. Shape of x, f32. PyTorch's `torch.softmax`. */
export function softmax(x: Tensor, dim = -1): Tensor {
  return softmaxOp([x], problemOf(x, dim, false, 'softmax'))[0];
}

/** The logarithm of softmax over dimension `dim`, without overflow. Shape of x, f32. PyTorch's `torch.log_softmax`. */
export function logSoftmax(x: Tensor, dim = -1): Tensor {
  return logSoftmaxOp([x], problemOf(x, dim, true, 'logSoftmax'))[0];
}
