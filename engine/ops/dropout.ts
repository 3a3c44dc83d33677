import { dropout as dropoutKernel } from '../../kernels/dropout/index.ts';
import type { DropoutProblem } from '../../kernels/dropout/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { Purpose } from '../../kernels/lib/philox.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor, TensorEngine } from '../tensor.ts';

/*
 * The mask is drawn again in the backward pass, from the same step number: saving the step tensor makes the tape notice if
 * it was changed in between.
 */

const dropoutOp = defineOp<DropoutProblem>({
  name: 'dropout',
  forward(ctx, [x]) {
    const { step } = ctx.engine;
    const y = ctx.empty(x!.shape);
    ctx.run(dropoutKernel, ctx.attributes, { x: x!, y, step });
    ctx.save(step);
    return [y];
  },
  backward(ctx, [dy]) {
    ctx.run(dropoutKernel, ctx.attributes, { x: dy!, y: ctx.gradient(0), step: ctx.saved[0] });
  },
});

/** Throws `bad-argument` unless `rate` is a probability. */
export function expectRate(rate: number, where: string): void {
  if (rate >= 0 && rate <= 1) return;
  throw new DeitError('bad-argument', 'A probability is from 0 to 1.', { where, found: String(rate) });
}

/**
 * Zeroes each element with probability p and divides the others by 1 - p. `stream` tells the dropouts of one step apart.
 * Without `training`, or at p = 0, x itself.
 */
export function dropout(x: Tensor, p: number, stream: number, training = true): Tensor {
  expectFloat(x, 'dropout');
  expectRate(p, 'dropout');
  if (!Number.isInteger(stream) || stream < 0) {
    throw new DeitError('bad-argument', 'A dropout needs a number that tells it apart from the others of a step.', {
      where: 'dropout(x, p, stream)',
      expected: 'a whole number from 0, another one for each dropout',
      found: String(stream),
    });
  }
  if (!training || p === 0 || x.size === 0) return x;
  return dropoutOp([x], { n: x.size, rate: p, seed: x.engine.seed, purpose: Purpose.dropout, stream })[0];
}

/** Above the streams that models give to their dropouts by number. */
const FIRST_FRESH = 1 << 16;

const nextStreams = new WeakMap<TensorEngine, number>();

/** A stream that no call before was given: for dropouts that nobody has numbered. */
export function freshStream(engine: TensorEngine): number {
  const stream = nextStreams.get(engine) ?? FIRST_FRESH;
  nextStreams.set(engine, stream + 1);
  return stream;
}

/** Returns a function that runs work with the fresh streams that come next now: what it draws is then drawn again alike. */
export function sameStreams(engine: TensorEngine): <Result>(work: () => Result) => Result {
  const start = nextStreams.get(engine) ?? FIRST_FRESH;
  return (work) => {
    const before = nextStreams.get(engine) ?? FIRST_FRESH;
    nextStreams.set(engine, start);
    try {
      return work();
    } finally {
      nextStreams.set(engine, before);
    }
  };
}
