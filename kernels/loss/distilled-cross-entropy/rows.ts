import type { DeviceProfile } from '../../lib/device.ts';
import { f32, input, output } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { expWgsl, logWgsl } from '../../lib/math.ts';
import type { RowPlan } from '../../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../../lib/rows.ts';
import { shapeOf } from '../logits.ts';
import { labelGradientWgsl, labelRowWgsl } from '../cross-entropy/rows.ts';
import { targetGradientWgsl, targetRowWgsl } from '../soft-target-cross-entropy/rows.ts';
import type { DistilledBackwardProblem, DistilledCrossEntropyProblem } from './problem.ts';

/* The variants whose lanes share rows: see lib/row-plan.ts. */

/**
 * WGSL: `teacher_label(base)`, the argmax of the row of `teacher` that begins at index `base`; no class where NaN is the
 * largest.
 */
const teacherLabelWgsl = (plan: RowPlan): string => /* wgsl */ `
fn teacher_label(base: u32) -> i32 {
  var best = V(LOWEST);
  ${eachColumn(plan, 'best = max(best, teacher[i]);')}
  let best_value = row_max(best);
  // The smallest index is found as the largest negative one.
  var first = V(LOWEST);
  ${eachColumn(plan, 'first = max(first, select(V(LOWEST), -V(columns_of(c)), teacher[i] == V(best_value)));')}
  return i32(min(-row_max(first), 2147483520.0));
}`;

export function forwardOverRows(problem: DistilledCrossEntropyProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width, target, smoothing } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const hasLabels = target === 'labels';
  const source = hasLabels ? input('labels', 'i32') : input('targets', element);
  const functions = [
    expWgsl,
    logWgsl,
    hasLabels ? labelRowWgsl('cls', plan) : targetRowWgsl('cls', plan),
    labelRowWgsl('dist', plan),
    teacherLabelWgsl(plan),
  ];
  const logits = width * 4;
  return rowKernel(
    {
      name: `distilled_cross_entropy.forward/${target}`,
      shape: shapeOf(problem),
      plan,
      bindings: [
        input('cls', element),
        input('dist', element),
        source,
        input('teacher', element),
        output('row_loss', 'vec2f'),
        output('stats', 'vec4f'),
      ],
      bytesPerSlice: {
        cls: logits,
        dist: logits,
        [source.name]: hasLabels ? 4 : logits,
        teacher: logits,
        row_loss: 8,
        stats: 32,
      },
      uniforms: { smoothing: f32(smoothing), one_minus_smoothing: f32(1 - smoothing) },
      functions: functions.join(''),
      body: /* wgsl */ `
  let kept_cls = cross_entropy_of_cls(base${hasLabels ? ', labels[row], params.one_minus_smoothing, params.smoothing' : ''});
  let kept_dist = cross_entropy_of_dist(base, teacher_label(base), 1.0, 0.0);
  if (lane == 0u) {
    row_loss[row] = vec2f(kept_cls.w, kept_dist.w);
    stats[2u * row] = kept_cls;
    stats[2u * row + 1u] = kept_dist;
  }`,
      cost: { flops: 18 * rows * width, bytes: (hasLabels ? 12 : 16) * rows * width },
    },
    device,
  );
}

export function backwardOverRows(problem: DistilledBackwardProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width, target, smoothing, alpha } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const hasLabels = target === 'labels';
  const logits = width * 4;
  const gradientOfCls = hasLabels
    ? 'label_gradient(cls[i], columns_of(c), kept_cls, params.smoothing, params.off)'
    : 'target_gradient(cls[i], targets[i], kept_cls)';
  return rowKernel(
    {
      name: `distilled_cross_entropy.backward/${target}`,
      shape: shapeOf(problem),
      plan,
      bindings: [
        input('cls', element),
        input('dist', element),
        ...(hasLabels ? [] : [input('targets', element)]),
        input('stats', 'vec4f'),
        input('dtotal'),
        output('dcls', element),
        output('ddist', element),
      ],
      bytesPerSlice: {
        cls: logits,
        dist: logits,
        ...(hasLabels ? {} : { targets: logits }),
        stats: 32,
        dcls: logits,
        ddist: logits,
      },
      uniforms: {
        scale_cls: f32((1 - alpha) / rows),
        scale_dist: f32(alpha / rows),
        smoothing: f32(smoothing),
        off: f32(smoothing / width),
      },
      functions: labelGradientWgsl + (hasLabels ? '' : targetGradientWgsl),
      body: /* wgsl */ `
  let scale_cls = dtotal[0] * params.scale_cls;
  let scale_dist = dtotal[0] * params.scale_dist;
  let kept_cls = stats[2u * row];
  let kept_dist = stats[2u * row + 1u];
  ${eachColumn(
    plan,
    /* wgsl */ `
    dcls[i] = scale_cls * ${gradientOfCls};
    ddist[i] = scale_dist * label_gradient(dist[i], columns_of(c), kept_dist, 0.0, 0.0);`,
  )}`,
      cost: { flops: 12 * rows * width, bytes: (hasLabels ? 16 : 20) * rows * width },
    },
    device,
  );
}
