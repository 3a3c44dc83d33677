/** Sums of gradients, outside the tape. */
import { accumulate as accumulateKernel, sumOf } from '../kernels/accumulate/index.ts';
import type { Tensor } from './tensor.ts';

/** total += source, of one shape and dtype. */
export function accumulate(total: Tensor, source: Tensor): void {
  const problem = { n: total.size, half: total.dtype === 'f16' };
  total.engine.run('accumulate', accumulateKernel, problem, { total, source });
}

/** A new tensor a + b, both of one shape and dtype. */
export function sumOfGradients(a: Tensor, b: Tensor): Tensor {
  const sum = a.engine.empty(a.shape, a.dtype, 'gradient');
  a.engine.run('sum', sumOf, { n: a.size, half: a.dtype === 'f16' }, { a, b, sum });
  return sum;
}
