import { DeitError } from '../kernels/lib/errors.ts';
import type { DType } from './dtype.ts';
import { Engine } from './engine.ts';
import type { Shape } from './tensor-shape.ts';
import type { Tensor } from './tensor.ts';

declare module './engine.ts' {
  interface Engine {
    /** A tensor filled with 1. */
    ones(shape: Shape): Tensor;
    /**
     * The numbers 0, 1, ... below `end`, or from `start` in steps of `step` to before `end`: f32, or another dtype (i32 for indices).
     * They are uploaded, so in a step that is recorded make them before it.
     */
    arange(end: number): Tensor;
    arange(start: number, end: number, step?: number, dtype?: DType): Tensor;
  }
}

function ones(this: Engine, shape: Shape): Tensor {
  return this.full(shape, 1);
}

function arange(this: Engine, start: number, end?: number, step = 1, dtype: DType = 'f32'): Tensor {
  const [first, last] = end === undefined ? [0, start] : [start, end];
  const count = Math.ceil((last - first) / step);
  if (!Number.isFinite(count) || step === 0 || count < 0) {
    throw new DeitError('bad-argument', 'There is no such range.', {
      where: 'arange',
      expected: 'finite bounds, and a step that leads from the first to the last',
      found: `${first} to ${last} in steps of ${step}`,
    });
  }
  const values = Float64Array.from({ length: count }, (_, i) => first + i * step);
  return this.tensor(values, [count], dtype);
}

Object.assign(Engine.prototype, { ones, arange });
