import type { DeviceProfile } from '../../lib/device.ts';
import { f32, input, output } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { accurateExp, expWgsl, logWgsl } from '../../lib/math.ts';
import type { RowPlan } from '../../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../../lib/rows.ts';
import { shapeOf } from '../logits.ts';
import type { SoftTargetProblem } from './problem.ts';

/*
 * The variants whose lanes share rows: see lib/row-plan.ts. What is done for a row is a WGSL function each, which
 * distilled-cross-entropy uses too.
 */

/**
 * WGSL: `cross_entropy_of_<logits>(base)`, m, 1 / s, sum(t) and loss of the row that begins at index `base` of `targets` and of
 * the binding `logits`. Needs expWgsl and logWgsl.
 */
export const targetRowWgsl = (logits: string, plan: RowPlan): string => /* wgsl */ `
fn cross_entropy_of_${logits}(base: u32) -> vec4f {
  var largest = V(LOWEST);
  ${eachColumn(plan, `largest = max(largest, ${logits}[i]);`)}
  let m = row_max(largest);
  var part = V(0);
  var part_t = V(0);
  var part_tz = V(0);
  ${eachColumn(
    plan,
    /* wgsl */ `
    let z = ${logits}[i] - m;
    let t = targets[i];
    part += ${accurateExp(plan.vector)}(z);
    part_t += t;
    part_tz += t * z;`,
  )}
  let s = row_sum(part);
  let t_sum = row_sum(part_t);
  let tz_sum = row_sum(part_tz);
  return vec4f(m, 1.0 / s, t_sum, t_sum * accurate_log(s) - tz_sum);
}`;

/** WGSL: `target_gradient(z, t, kept)`, dz but for the upstream factor. */
export const targetGradientWgsl = /* wgsl */ `
fn target_gradient(z: V, t: V, kept: vec4f) -> V { return exp(z - kept.x) * kept.y * kept.z - t; }`;

export function forwardOverRows(problem: SoftTargetProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  return rowKernel(
    {
      name: 'soft_target_cross_entropy.forward',
      shape: shapeOf(problem),
      plan,
      bindings: [input('logits', element), input('targets', element), output('row_loss'), output('stats', 'vec4f')],
      bytesPerSlice: { logits: width * 4, targets: width * 4, row_loss: 4, stats: 16 },
      functions: expWgsl + logWgsl + targetRowWgsl('logits', plan),
      body: /* wgsl */ `
  let kept = cross_entropy_of_logits(base);
  if (lane == 0u) {
    row_loss[row] = kept.w;
    stats[row] = kept;
  }`,
      cost: { flops: 8 * rows * width, bytes: 8 * rows * width },
    },
    device,
  );
}

export function backwardOverRows(problem: SoftTargetProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const operands = [input('logits', element), input('targets', element), input('stats', 'vec4f')];
  return rowKernel(
    {
      name: 'soft_target_cross_entropy.backward',
      shape: shapeOf(problem),
      plan,
      bindings: [...operands, input('dloss'), output('dlogits', element)],
      bytesPerSlice: { logits: width * 4, targets: width * 4, stats: 16, dlogits: width * 4 },
      uniforms: { scale: f32(1 / rows) },
      functions: targetGradientWgsl,
      body: /* wgsl */ `
  let scale = dloss[0] * params.scale;
  let kept = stats[row];
  ${eachColumn(plan, 'dlogits[i] = scale * target_gradient(logits[i], targets[i], kept);')}`,
      cost: { flops: 6 * rows * width, bytes: 12 * rows * width },
    },
    device,
  );
}
