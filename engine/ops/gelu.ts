import { geluBackward, geluForward } from '../../kernels/gelu/index.ts';
import type { GeluApproximation } from '../../kernels/gelu/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';

interface GeluAttributes {
  approximate: GeluApproximation;
}

const geluOp = defineOp<GeluAttributes>({
  name: 'gelu',
  forward(ctx, [x]) {
    const y = ctx.empty(x!.shape);
    if (x!.size > 0) ctx.run(geluForward, { n: x!.size, ...ctx.attributes }, { x: x!, y });
    ctx.save(x!);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x] = ctx.saved;
    const dx = ctx.gradient(0);
    if (x.size > 0) ctx.run(geluBackward, { n: x.size, ...ctx.attributes }, { x, dy: dy!, dx });
  },
});

/**
 * x Phi(x) with the normal distribution's cumulative function Phi, elementwise; `approximate: 'tanh'` takes PyTorch's
 * tanh form instead. Shape of x, f32. PyTorch's `F.gelu`.
 */
export function gelu(x: Tensor, options: { approximate?: GeluApproximation } = {}): Tensor {
  const { approximate = 'none' } = options;
  if (approximate !== 'none' && approximate !== 'tanh') {
    throw new DeitError('bad-argument', 'There is no such form of GELU.', {
      where: 'gelu',
      expected: "'none' or 'tanh'",
      found: String(approximate),
    });
  }
  expectFloat(x, 'gelu');
  return geluOp([x], { approximate })[0];
}
