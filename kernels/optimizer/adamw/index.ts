/**
 * AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019) in PyTorch's order of arithmetic:
 *
 *     p <- p * (1 - lr * decay)
 *     m <- m + (1 - beta1) * (g - m)
 *     v <- beta2 * v + (1 - beta2) * g^2
 *     p <- p - lr / (1 - beta1^s) * m / (sqrt(v) / sqrt(1 - beta2^s) + eps)
 *
 * One dispatch over flat buffers of all parameters (lib/flat-update.ts). What varies with the step or the group comes from
 * `hyper`: one vector per group of [1 - lr * decay, lr / (1 - beta1^s), sqrt(1 - beta2^s), scale of the gradient], which
 * the host computes in double precision. `parameters`, `m` and `v` are updated in place.
 *
 * Cost: 15 FLOP and 28 bytes per parameter. `deit kernel adamw` shows the kernel.
 */
import { flatUpdate } from '../../lib/flat-update.ts';
import type { ClipProblem } from '../../lib/flat-update.ts';
import { f32, input, output, require } from '../../lib/kernel.ts';

export interface AdamWProblem extends ClipProblem {
  /** Elements of each flat buffer, padding included. */
  readonly n: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
}

/** Bindings: parameters, gradients, m, v (flat f32), blocks, hyper, and norm unless maxNorm is null. */
export const adamW = flatUpdate<AdamWProblem>('adamw', ({ n, beta1, beta2, eps, maxNorm, scaled }) => {
  require(beta1 >= 0 && beta1 < 1, 'adamw', '0 <= beta1 < 1', beta1);
  require(beta2 >= 0 && beta2 < 1, 'adamw', '0 <= beta2 < 1', beta2);
  // With eps = 0 an element that never had a gradient would be 0 / 0.
  require(eps >= 1e-37, 'adamw', 'eps > 0 in f32', eps);
  return {
    name: 'adamw',
    n,
    maxNorm,
    scaled,
    buffers: [output('parameters', 'vec4f'), input('gradients', 'vec4f'), output('m', 'vec4f'), output('v', 'vec4f')],
    uniforms: { beta2: f32(beta2), one_minus_beta1: f32(1 - beta1), one_minus_beta2: f32(1 - beta2), eps: f32(eps) },
    body: /* wgsl */ `
      let m_new = m[i] + (g - m[i]) * params.one_minus_beta1;
      let v_new = v[i] * params.beta2 + params.one_minus_beta2 * g * g;
      m[i] = m_new;
      v[i] = v_new;
      let denominator = sqrt(v_new) / setting.z + params.eps;
      parameters[i] = parameters[i] * setting.x - setting.y * m_new / denominator;`,
    flopsPerElement: 15,
  };
});
