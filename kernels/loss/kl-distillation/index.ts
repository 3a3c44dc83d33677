/**
 * Soft distillation (Hinton, Vinyals and Dean, 2015; DeiT's losses.py): the Kullback-Leibler divergence of the student's
 * distribution from the teacher's, both softened by a temperature tau, times tau^2:
 *
 *     p = softmax(student / tau),  q = softmax(teacher / tau)
 *     loss(row) = sum(q (log q - log p)),   loss = tau^2 / divisor * sum over rows
 *     dstudent = upstream * tau / divisor * (p - q)
 *
 * The divisor is rows (`batchmean`) or rows * width (`all`), by the caller. Kept for backward: both logits and stats
 * [rows, 4] of max and 1 / sum of either. The teacher gets no gradient. The gradient is written.
 */
import { f32, input, output, require } from '../../lib/kernel.ts';
import type { Kernel } from '../../lib/kernel.ts';
import { accurateExp, expWgsl, logWgsl } from '../../lib/math.ts';
import { planRows } from '../../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../../lib/rows.ts';

export interface KlProblem {
  readonly rows: number;
  readonly width: number;
  readonly tau: number;
}

/** Bindings: student, teacher, row_loss [rows], stats (vec4f). */
export const klForward: Kernel<KlProblem> = ({ rows, width, tau }, device) => {
  require(rows > 0 && width > 0, 'kl_distillation', 'sizes of at least 1', [rows, width]);
  require(tau > 0, 'kl_distillation', 'tau > 0', tau);
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const exp = accurateExp(plan.vector);
  return rowKernel(
    {
      name: 'kl_distillation.forward',
      shape,
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
};

/** Bindings: student, teacher, stats (vec4f), dloss (one element), dstudent. `divisor` as in the formula. */
export const klBackward: Kernel<KlProblem & { divisor: number }> = ({ rows, width, tau, divisor }, device) => {
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const operands = [input('student', element), input('teacher', element), input('stats', 'vec4f')];
  return rowKernel(
    {
      name: 'kl_distillation.backward',
      shape,
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
};
