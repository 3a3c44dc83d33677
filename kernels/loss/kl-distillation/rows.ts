import type { DeviceProfile } from '../../lib/device.ts';
import { f32, input, output } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { accurateExp, expWgsl, logWgsl } from '../../lib/math.ts';
import type { RowPlan } from '../../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../../lib/rows.ts';
import { shapeOf } from '../logits.ts';
import type { KlBackwardProblem, KlProblem } from './problem.ts';

/* The variants whose lanes share rows: see lib/row-plan.ts. */

export function forwardOverRows(problem: KlProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width, tau } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const exp = accurateExp(plan.vector);
  return rowKernel(
    {
      name: 'kl_distillation.forward',
      shape: shapeOf(problem),
      plan,
      bindings: [input('student', element), input('teacher', element), output('row_loss'), output('stats', 'vec4f')],
      bytesPerSlice: { student: width * 4, teacher: width * 4, row_loss: 4, stats: 16 },
      uniforms: { tau: f32(tau) },
      functions: logWgsl + expWgsl,
      body: /* wgsl */ `
  var largest_p = V(LOWEST);
  var largest_q = V(LOWEST);
  ${eachColumn(plan, 'largest_p = max(largest_p, student[i]); largest_q = max(largest_q, teacher[i]);')}
  let m_p = row_max(largest_p);
  let m_q = row_max(largest_q);
  var part_p = V(0);
  var part_q = V(0);
  ${eachColumn(
    plan,
    /* wgsl */ `
    part_p += ${exp}((student[i] - m_p) / params.tau);
    part_q += ${exp}((teacher[i] - m_q) / params.tau);`,
  )}
  let s_p = row_sum(part_p);
  let s_q = row_sum(part_q);
  // log q - log p = (z_q - z_p) - log(s_q / s_p): summed as one term, so that what cancels cancels early.
  let shift = accurate_log(s_q / s_p);
  var part = V(0);
  ${eachColumn(
    plan,
    /* wgsl */ `
    let z_q = (teacher[i] - m_q) / params.tau;
    part += ${exp}(z_q) * ((z_q - (student[i] - m_p) / params.tau) - shift);`,
  )}
  let divergence = row_sum(part) / s_q;
  if (lane == 0u) {
    row_loss[row] = divergence;
    stats[row] = vec4f(m_p, 1.0 / s_p, m_q, 1.0 / s_q);
  }`,
      cost: { flops: 18 * rows * width, bytes: 8 * rows * width },
    },
    device,
  );
}

export function backwardOverRows(problem: KlBackwardProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width, tau, divisor } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const operands = [input('student', element), input('teacher', element), input('stats', 'vec4f')];
  return rowKernel(
    {
      name: 'kl_distillation.backward',
      shape: shapeOf(problem),
      plan,
      bindings: [...operands, input('dloss'), output('dstudent', element)],
      bytesPerSlice: { student: width * 4, teacher: width * 4, stats: 16, dstudent: width * 4 },
      uniforms: { tau: f32(tau), scale: f32(tau / divisor) },
      body: /* wgsl */ `
  let scale = dloss[0] * params.scale;
  let kept = stats[row];
  ${eachColumn(
    plan,
    /* wgsl */ `
    let p = exp((student[i] - kept.x) / params.tau) * kept.y;
    let q = exp((teacher[i] - kept.z) / params.tau) * kept.w;
    dstudent[i] = scale * (p - q);`,
  )}`,
      cost: { flops: 12 * rows * width, bytes: 12 * rows * width },
    },
    device,
  );
}
