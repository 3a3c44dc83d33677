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
import { logWgsl } from '../lib/math.ts';
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
    require(n > 0 && Number.isFinite(high - low), 'randomUniform', 'elements, and finite bounds', { n, low, high });
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

/**
 * `cos_turn(word)`: the cosine of the angle word / 2^32 turns, from the word itself: the quadrant exactly, the rest in
 * [-pi/4, pi/4] by the Taylor polynomials, which are within 4e-7 there (the built-in may be off by 5e-4).
 */
const cosTurnWgsl = /* wgsl */ `
fn cos_turn(word: u32) -> f32 {
  let quadrant = (word + 0x20000000u) >> 30u;
  let t = f32(bitcast<i32>(word - (quadrant << 30u))) * 1.46291807926715968e-9;
  let z = t * t;
  let cosine = 1.0 + z * (-0.5 + z * (4.16666667e-2 + z * (-1.38888889e-3 + z * 2.48015873e-5)));
  let sine = t + t * z * (-1.66666667e-1 + z * (8.33333333e-3 + z * (-1.98412698e-4 + z * 2.75573192e-6)));
  let value = select(cosine, sine, (quadrant & 1u) == 1u);
  return select(value, -value, quadrant == 1u || quadrant == 2u);
}
`;

/** Bindings y, step. */
export const randomNormal = pointwise<RandomFillProblem & { mean: number; std: number }>('random_normal', (problem) => {
  const { n, mean, std, ...draw } = problem;
  require(n > 0 && Number.isFinite(mean) && Number.isFinite(std), 'randomNormal', 'elements, finite mean and std', {
    n,
    mean,
    std,
  });
  return {
    name: 'randomNormal',
    n,
    bindings: [output('y', 'vec4f')],
    shared: [input('step', 'u32')],
    uniforms: { ...drawUniforms(draw), mean: f32(mean), deviation: f32(std) },
    functions: /* wgsl */ `
${drawWgsl}
${logWgsl}
${cosTurnWgsl}
fn normal(radius_word: u32, angle_word: u32) -> f32 {
  let u = (f32(radius_word) + 0.5) * 2.3283064365386963e-10;
  return sqrt(max(-2.0 * accurate_log(u), 0.0)) * cos_turn(angle_word);
}
`,
    body: `let block = 2u * (i + params.first_vector);
      let a = draw(block);
      let b = draw(block + 1u);
      let z = vec4f(normal(a.x, a.y), normal(a.z, a.w), normal(b.x, b.y), normal(b.z, b.w));
      y[i] = params.mean + params.deviation * z;`,
    flopsPerElement: 50,
  };
});
