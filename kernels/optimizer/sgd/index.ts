/**
 * Stochastic gradient descent with PyTorch's momentum and coupled weight decay:
 *
 *     g <- g + decay * p
 *     b <- momentum * b + (1 - dampening) * g        (the first step: b <- g)
 *     g <- b, or g + momentum * b with Nesterov
 *     p <- p - lr * g
 *
 * One dispatch over flat buffers of all parameters (lib/flat-update.ts). What varies with the step or the group comes from
 * `hyper`: one vector per group of [lr, decay, weight of g in b, scale of the gradient]; the weight is 1 in the first step
 * and 1 - dampening later, with b zero at first. `parameters` and `momentumBuffer` are updated in place.
 *
 * Cost: 8 FLOP and 20 bytes per parameter with momentum, else 12. `deit kernel sgd` shows the kernel.
 */
import { flatUpdate } from '../../lib/flat-update.ts';
import type { ClipProblem } from '../../lib/flat-update.ts';
import { f32, input, output, require } from '../../lib/kernel.ts';
import type { Binding } from '../../lib/kernel.ts';

export interface SgdProblem extends ClipProblem {
  /** Elements of each flat buffer, padding included. */
  readonly n: number;
  /** 0: no momentum buffer is bound. */
  readonly momentum: number;
  readonly nesterov: boolean;
}

/** Bindings: parameters, gradients (flat f32), momentum_buffer unless momentum is 0, blocks, hyper, norm unless maxNorm is null. */
export const sgd = flatUpdate<SgdProblem>('sgd', ({ n, momentum, nesterov, maxNorm, scaled }) => {
  require(momentum >= 0 && momentum < 1, 'sgd', '0 <= momentum < 1', momentum);
  require(!nesterov || momentum > 0, 'sgd', 'momentum > 0 with nesterov', momentum);
  const buffers: Binding[] = [output('parameters', 'vec4f'), input('gradients', 'vec4f')];
  if (momentum > 0) buffers.push(output('momentum_buffer', 'vec4f'));
  const withMomentum = /* wgsl */ `
      let buffer = momentum_buffer[i] * params.momentum + decayed * setting.z;
      momentum_buffer[i] = buffer;
      let step = ${nesterov ? 'decayed + params.momentum * buffer' : 'buffer'};`;
  return {
    name: momentum > 0 ? (nesterov ? 'sgd/nesterov' : 'sgd/momentum') : 'sgd',
    n,
    maxNorm,
    scaled,
    buffers,
    uniforms: { ...(momentum > 0 && { momentum: f32(momentum) }) },
    body: /* wgsl */ `
      let decayed = g + setting.y * parameters[i];
      ${momentum > 0 ? withMomentum : 'let step = decayed;'}
      parameters[i] -= setting.x * step;`,
    flopsPerElement: 8,
  };
});
