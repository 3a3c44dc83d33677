import type { DeviceProfile } from '../../lib/device.ts';
import { f32, input, output } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { accurateExp, expWgsl, logWgsl } from '../../lib/math.ts';
import type { RowPlan } from '../../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../../lib/rows.ts';
import { shapeOf } from '../logits.ts';
import type { CrossEntropyProblem } from './problem.ts';

/*
 * The variants whose lanes share rows: see lib/row-plan.ts. What is done for a row is a WGSL function each, which
 * distilled-cross-entropy uses too.
 */

/**
 * WGSL: `cross_entropy_of_<logits>(base, label, label_weight, smoothing)`, m, 1 / s, y and loss of the row of the binding
 * `logits` that begins at index `base`. The weights are 1 - eps and eps. Needs expWgsl and logWgsl.
 */
export const labelRowWgsl = (logits: string, plan: RowPlan): string => /* wgsl */ `
fn cross_entropy_of_${logits}(base: u32, label: i32, label_weight: f32, smoothing: f32) -> vec4f {
  let known = label >= 0 && label < i32(params.width);
  var largest = V(LOWEST);
  ${eachColumn(plan, `largest = max(largest, ${logits}[i]);`)}
  let m = row_max(largest);
  var part = V(0);
  var part_z = V(0);
  var part_y = V(0);
  ${eachColumn(
    plan,
    /* wgsl */ `
    let z = ${logits}[i] - m;
    part += ${accurateExp(plan.vector)}(z);
    part_z += z;
    part_y += select(V(0), z, columns_of(c) == Columns(u32(label)));`,
  )}
  let s = row_sum(part);
  let log_s = accurate_log(s);
  let mean_z = row_sum(part_z) / f32(params.width);
  let z_label = row_sum(part_y);
  // Without smoothing there is no such term: a masked class, whose logit is -infinity, would make it 0 times infinity.
  let spread = select(0.0, smoothing * (log_s - mean_z), smoothing > 0.0);
  let loss = label_weight * (log_s - z_label) + spread;
  return vec4f(m, 1.0 / s, f32(label), select(bitcast<f32>(0x7fc00000u | (u32(label) & 1u)), loss, known));
}`;

/** WGSL: `label_gradient(z, columns, kept, smoothing, off)`, dz but for the upstream factor; off is eps / width. */
export const labelGradientWgsl = /* wgsl */ `
fn label_gradient(z: V, columns: Columns, kept: vec4f, smoothing: f32, off: f32) -> V {
  let p = exp(z - kept.x) * kept.y;
  let one = select(V(0), V(1), columns == Columns(u32(i32(kept.z))));
  return (p - one) + (smoothing * one - off);
}`;

export function forwardOverRows(problem: CrossEntropyProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width, smoothing } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  return rowKernel(
    {
      name: 'cross_entropy.forward',
      shape: shapeOf(problem),
      plan,
      bindings: [input('logits', element), input('labels', 'i32'), output('row_loss'), output('stats', 'vec4f')],
      bytesPerSlice: { logits: width * 4, labels: 4, row_loss: 4, stats: 16 },
      uniforms: { smoothing: f32(smoothing), one_minus_smoothing: f32(1 - smoothing) },
      functions: expWgsl + logWgsl + labelRowWgsl('logits', plan),
      body: /* wgsl */ `
  let label = labels[row];
  let kept = cross_entropy_of_logits(base, label, params.one_minus_smoothing, params.smoothing);
  if (lane == 0u) {
    row_loss[row] = kept.w;
    stats[row] = kept;
  }`,
      cost: { flops: 8 * rows * width, bytes: 4 * rows * width },
    },
    device,
  );
}

export function backwardOverRows(problem: CrossEntropyProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width, smoothing } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  return rowKernel(
    {
      name: 'cross_entropy.backward',
      shape: shapeOf(problem),
      plan,
      bindings: [input('logits', element), input('stats', 'vec4f'), input('dloss'), output('dlogits', element)],
      bytesPerSlice: { logits: width * 4, stats: 16, dlogits: width * 4 },
      uniforms: { scale: f32(1 / rows), smoothing: f32(smoothing), off: f32(smoothing / width) },
      functions: labelGradientWgsl,
      body: /* wgsl */ `
  let scale = dloss[0] * params.scale;
  let kept = stats[row];
  ${eachColumn(
    plan,
    'dlogits[i] = scale * label_gradient(logits[i], columns_of(c), kept, params.smoothing, params.off);',
  )}`,
      cost: { flops: 6 * rows * width, bytes: 8 * rows * width },
    },
    device,
  );
}
