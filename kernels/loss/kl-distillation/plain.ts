import type { DeviceProfile } from '../../lib/device.ts';
import { f32, input, output, u32 } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { LOWEST, expWgsl, logWgsl } from '../../lib/math.ts';
import { perInvocation } from '../../lib/plain.ts';
import type { KlBackwardProblem, KlProblem } from './problem.ts';

/** One invocation per row. */
export const forwardPlain = ({ rows, width, tau }: KlProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'kl_distillation.forward/plain',
      bindings: [input('student'), input('teacher'), output('row_loss'), output('stats', 'vec4f')],
      uniforms: { width: u32(width), tau: f32(tau) },
      functions: expWgsl + logWgsl,
      count: rows,
      body: /* wgsl */ `
  let first = i * params.width;
  var m_p = ${LOWEST};
  var m_q = ${LOWEST};
  for (var c = first; c < first + params.width; c++) {
    m_p = max(m_p, student[c]);
    m_q = max(m_q, teacher[c]);
  }
  var s_p = 0.0;
  var s_q = 0.0;
  for (var c = first; c < first + params.width; c++) {
    s_p += accurate_exp((student[c] - m_p) / params.tau);
    s_q += accurate_exp((teacher[c] - m_q) / params.tau);
  }
  // log q - log p = (z_q - z_p) - log(s_q / s_p): summed as one term, so that what cancels cancels early.
  let shift = accurate_log(s_q / s_p);
  var divergence = 0.0;
  for (var c = first; c < first + params.width; c++) {
    let z_q = (teacher[c] - m_q) / params.tau;
    divergence += accurate_exp(z_q) * ((z_q - (student[c] - m_p) / params.tau) - shift);
  }
  row_loss[i] = divergence / s_q;
  stats[i] = vec4f(m_p, 1.0 / s_p, m_q, 1.0 / s_q);`,
      cost: { flops: 18 * rows * width, bytes: 8 * rows * width },
    },
    device,
  ),
];

/** One invocation per element. */
export const backwardPlain = ({ rows, width, tau, divisor }: KlBackwardProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'kl_distillation.backward/plain',
      bindings: [input('student'), input('teacher'), input('stats', 'vec4f'), input('dloss'), output('dstudent')],
      uniforms: { width: u32(width), tau: f32(tau), divisor: f32(divisor) },
      count: rows * width,
      body: /* wgsl */ `
  let kept = stats[i / params.width];
  let p = exp((student[i] - kept.x) / params.tau) * kept.y;
  let q = exp((teacher[i] - kept.z) / params.tau) * kept.w;
  dstudent[i] = dloss[0] * params.tau / params.divisor * (p - q);`,
      cost: { flops: 12 * rows * width, bytes: 12 * rows * width },
    },
    device,
  ),
];
