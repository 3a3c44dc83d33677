/**
 * Exponential moving average: average <- decay * average + (1 - decay) * values, in place, both of n elements (a flat
 * buffer or one tensor). 1 - decay is rounded once, on the host: in f32 it would have few digits near decay = 1. No gradient.
 *
 * Cost: 3 FLOP and 12 bytes per element. `deit kernel ema` shows the kernel.
 */
import { pointwise } from '../../lib/elementwise.ts';
import { f32, input, output, require } from '../../lib/kernel.ts';

export const ema = pointwise<{ n: number; decay: number }>('ema', ({ n, decay }) => {
  require(decay >= 0 && decay <= 1, 'ema', '0 <= decay <= 1', decay);
  return {
    name: 'ema',
    n,
    bindings: [output('average', 'vec4f'), input('values', 'vec4f')],
    uniforms: { decay: f32(decay), one_minus_decay: f32(1 - decay) },
    body: 'average[i] = average[i] * params.decay + values[i] * params.one_minus_decay;',
    flopsPerElement: 3,
  };
});
