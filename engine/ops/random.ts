import { randomNormal as normalKernel, randomUniform as uniformKernel } from '../../kernels/random/index.ts';
import { Purpose } from '../../kernels/lib/philox.ts';
import type { Tensor, TensorEngine } from '../tensor.ts';
import type { Shape } from '../tensor-shape.ts';

export interface FillOptions {
  /** Tells the fills of one purpose and step apart. */
  stream?: number;
  purpose?: Purpose;
}

/** A tensor of independent normal draws. Its step is that of `engine.step`. */
export function randomNormal(
  engine: TensorEngine,
  shape: Shape,
  options: FillOptions & { mean?: number; std?: number } = {},
): Tensor {
  const { mean = 0, std = 1, stream = 0, purpose = Purpose.sample } = options;
  const y = engine.empty(shape);
  const problem = { n: y.size, mean, std, seed: engine.seed, purpose, stream };
  if (y.size > 0) engine.run('randomNormal', normalKernel, problem, { y, step: engine.step });
  return y;
}

/** A tensor of independent draws, uniform in [low, high). Its step is that of `engine.step`. */
export function randomUniform(
  engine: TensorEngine,
  shape: Shape,
  options: FillOptions & { low?: number; high?: number } = {},
): Tensor {
  const { low = 0, high = 1, stream = 0, purpose = Purpose.sample } = options;
  const y = engine.empty(shape);
  const problem = { n: y.size, low, high, seed: engine.seed, purpose, stream };
  if (y.size > 0) engine.run('randomUniform', uniformKernel, problem, { y, step: engine.step });
  return y;
}
