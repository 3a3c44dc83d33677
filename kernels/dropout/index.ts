/**
 * Dropout (Srivastava et al., 2014): y = x / (1 - rate) where word number e of a stream (lib/philox.ts), as a uniform number,
 * is at least rate, else 0, for element e of x. x and y have n elements.
 *
 * Nothing is kept for the backward pass: the gradient is the same kernel on dy, which draws the same words.
 *
 * Cost: one draw per element, and memory traffic. `deit kernel dropout` shows the kernel.
 */
import { pointwise } from '../lib/elementwise.ts';
import { f32, input, output, require } from '../lib/kernel.ts';
import { drawUniforms, drawWgsl } from '../lib/philox.ts';
import type { Draw } from '../lib/philox.ts';

/** What a kept value is multiplied by; nothing is kept at rate 1. */
export const keptScale = (rate: number): number => (rate < 1 ? 1 / (1 - rate) : 0);

export interface DropoutProblem extends Draw {
  n: number;
  rate: number;
}

/** Bindings x, y, step. */
export const dropout = pointwise<DropoutProblem>('dropout', ({ n, rate, ...draw }) => {
  require(rate >= 0 && rate <= 1, 'dropout', 'a rate from 0 to 1', rate);
  return {
    name: 'dropout',
    n,
    bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
    shared: [input('step', 'u32')],
    uniforms: { ...drawUniforms(draw), rate: f32(rate), scale: f32(keptScale(rate)) },
    functions: drawWgsl,
    body: `let words = draw(i + params.first_vector);
      let u = vec4f(uniform01(words.x), uniform01(words.y), uniform01(words.z), uniform01(words.w));
      y[i] = select(vec4f(0.0), x[i] * params.scale, u >= vec4f(params.rate));`,
    flopsPerElement: 1,
  };
});
