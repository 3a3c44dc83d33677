import type { DeviceProfile } from '../../lib/device.ts';
import { input, output, u32 } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { LOWEST, expWgsl, logWgsl } from '../../lib/math.ts';
import { perInvocation } from '../../lib/plain.ts';
import type { SoftTargetProblem } from './problem.ts';

/**
 * WGSL: `target_loss_<logits>(first)`, [m, 1 / s, sum(t), loss] of the row of the bindings `logits` and `targets` that begins
 * at index `first`. Needs expWgsl and logWgsl.
 */
export const targetLossWgsl = (logits: string): string => /* wgsl */ `
fn target_loss_${logits}(first: u32) -> vec4f {
  var m = ${LOWEST};
  for (var c = 0u; c < params.width; c++) { m = max(m, ${logits}[first + c]); }
  var s = 0.0;
  var t_sum = 0.0;
  var tz_sum = 0.0;
  for (var c = 0u; c < params.width; c++) {
    let z = ${logits}[first + c] - m;
    let t = targets[first + c];
    s += accurate_exp(z);
    t_sum += t;
    tz_sum += t * z;
  }
  return vec4f(m, 1.0 / s, t_sum, t_sum * accurate_log(s) - tz_sum);
}`;

/** One invocation per row. */
export const forwardPlain = ({ rows, width }: SoftTargetProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'soft_target_cross_entropy.forward/plain',
      bindings: [input('logits'), input('targets'), output('row_loss'), output('stats', 'vec4f')],
      uniforms: { width: u32(width) },
      functions: expWgsl + logWgsl + targetLossWgsl('logits'),
      count: rows,
      body: /* wgsl */ `
  let kept = target_loss_logits(i * params.width);
  row_loss[i] = kept.w;
  stats[i] = kept;`,
      cost: { flops: 8 * rows * width, bytes: 8 * rows * width },
    },
    device,
  ),
];

/** One invocation per element. */
export const backwardPlain = ({ rows, width }: SoftTargetProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'soft_target_cross_entropy.backward/plain',
      bindings: [input('logits'), input('targets'), input('stats', 'vec4f'), input('dloss'), output('dlogits')],
      uniforms: { rows: u32(rows), width: u32(width) },
      count: rows * width,
      body: /* wgsl */ `
  let kept = stats[i / params.width];
  let p = exp(logits[i] - kept.x) * kept.y;
  dlogits[i] = dloss[0] / f32(params.rows) * (p * kept.z - targets[i]);`,
      cost: { flops: 6 * rows * width, bytes: 12 * rows * width },
    },
    device,
  ),
];
