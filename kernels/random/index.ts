/**
 * Tensors of independent random numbers. Word number w of a stream (lib/philox.ts) serves element e:
 *
 *   randomUniform   y = low + (high - low) u, u from word e
 *   randomNormal    y = mean + std z, z from words 2 e and 2 e + 1 by Box and Muller
 *
 * y has n elements. No gradient.
 *
 * Cost: a block of Philox for four uniform numbers, two for four normal ones. `deit kernel random_normal` shows a kernel.
 */
import { pointwise } from '../lib/elementwise.ts';
import { f32, input, output, require } from '../lib/kernel.ts';
import { normalWgsl } from '../lib/normal.ts';
import { drawUniforms, drawWgsl } from '../lib/philox.ts';
import type { Draw } from '../lib/philox.ts';

export interface RandomFillProblem extends Draw {
  n: number;
}

/** Bindings y, step. */
export const randomUniform = pointwise<RandomFillProblem & { low: number; high: number }>(
  'random_uniform',
  (problem) => {
    const { n, low, high, ...draw } = problem;
    require(Number.isFinite(high - low), 'randomUniform', 'finite bounds', { low, high });
    return {
      name: 'randomUniform',
      n,
      bindings: [output('y', 'vec4f')],
      shared: [input('step', 'u32')],
      uniforms: { ...drawUniforms(draw), low: f32(low), range: f32(high - low) },
      functions: drawWgsl,
      body: `let words = draw(i + params.first_vector);
      let u = vec4f(uniform01(words.x), uniform01(words.y), uniform01(words.z), uniform01(words.w));
      y[i] = params.low + params.range * u;`,
      flopsPerElement: 2,
    };
  },
);

/** Bindings y, step. */
export const randomNormal = pointwise<RandomFillProblem & { mean: number; std: number }>('random_normal', (problem) => {
  const { n, mean, std, ...draw } = problem;
  require(Number.isFinite(mean) && Number.isFinite(std), 'randomNormal', 'finite mean and std', { mean, std });
  return {
    name: 'randomNormal',
    n,
    bindings: [output('y', 'vec4f')],
    shared: [input('step', 'u32')],
    uniforms: { ...drawUniforms(draw), mean: f32(mean), deviation: f32(std) },
    functions: `${drawWgsl}${normalWgsl}`,
    body: `let block = 2u * (i + params.first_vector);
      let a = draw(block);
      let b = draw(block + 1u);
      let z = vec4f(normal(a.x, a.y), normal(a.z, a.w), normal(b.x, b.y), normal(b.z, b.w));
      y[i] = params.mean + params.deviation * z;`,
    flopsPerElement: 50,
  };
});
