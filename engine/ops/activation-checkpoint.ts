import { withCopies } from '../autocast.ts';
import type { F16Copies } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { sameStreams } from './dropout.ts';
import { reshape } from './shape.ts';

interface Segment {
  readonly compute: (x: Tensor) => Tensor;
  /** The region of autocast that the segment was computed in. */
  readonly copies: F16Copies | null;
  /** Has dropouts draw as they did then. */
  readonly again: ReturnType<typeof sameStreams>;
}

const segment = defineOp<Segment>({
  name: 'checkpoint',
  precision: { operands: 'any' },
  forward(ctx, [x]) {
    ctx.save(x!);
    return [ctx.attributes.compute(x!.detach())];
  },
  backward(ctx, [dy]) {
    const x = ctx.saved[0];
    const { engine } = x;
    const leaf = x.detach().requiresGrad_(ctx.needs(0));
    // A result on the tape, as x was: gradients that meet there are added in the same order and by the same kernels.
    const input = engine.withGrad(() => reshape(leaf, x.shape));
    const { compute, copies, again } = ctx.attributes;
    engine.withGrad(() => withCopies(engine, copies, () => again(() => compute(input)))).backward(dy!);
    if (leaf.grad) ctx.pass(0, leaf.grad);
  },
});

/**
 * compute(x), of which nothing but x is kept for the backward pass: that computes it once more. Less memory for more
 * time, the same gradients to the bit. PyTorch's `torch.utils.checkpoint`.
 *
 * `parameters` are what `compute` uses besides x and wants gradients of; each is used in one such segment alone. What
 * `compute` draws at random must follow from the engine's step and a stream, as all operators here do, and it may
 * change nothing (no running statistics).
 */
export function checkpoint(compute: (x: Tensor) => Tensor, x: Tensor, parameters: readonly Tensor[]): Tensor {
  return segment([x, ...parameters], {
    ...{ compute, copies: x.engine.f16Copies, again: sameStreams(x.engine) },
  })[0];
}
