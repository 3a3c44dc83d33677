/**
 * Hard distillation of a student with two heads (DeiT, section 4; facebookresearch/deit, losses.py): the class head learns
 * from the target, the distillation head from the decision of a teacher. All logits are [rows, width]:
 *
 *     label = mean over rows of CE(cls, target)
 *     distillation = mean over rows of CE(dist, argmax(teacher))
 *     total = (1 - alpha) label + alpha distillation
 *     dcls = dtotal (1 - alpha) / rows * CE'(cls, target)
 *     ddist = dtotal alpha / rows * CE'(dist, argmax(teacher))
 *
 * The target is labels [rows], with smoothing, or a distribution [rows, width]: CE and CE' are those of cross-entropy
 * and soft-target-cross-entropy, whose code this is. The teacher's label is not smoothed. Both heads of a row are
 * worked on by those who have the row, one after the other: three dispatches for forward and backward, where the terms
 * by themselves take eleven.
 *
 * Kept for backward: both logits, the distribution, and stats [rows, 2, 4], what cross-entropy keeps of either head. Target
 * and teacher get no gradient. Gradients are written.
 */
import { labelGradientWgsl, labelRowWgsl } from '../cross-entropy/index.ts';
import { f32, input, launch, output, require, u32 } from '../../lib/kernel.ts';
import type { Kernel } from '../../lib/kernel.ts';
import { expWgsl, logWgsl } from '../../lib/math.ts';
import { planRows } from '../../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../../lib/rows.ts';
import type { RowPlan } from '../../lib/row-plan.ts';
import { sumOfAllWgsl } from '../scaled-sum.ts';
import { targetGradientWgsl, targetRowWgsl } from '../soft-target-cross-entropy/index.ts';

export interface DistilledCrossEntropyProblem {
  readonly rows: number;
  readonly width: number;
  readonly target: 'labels' | 'distribution';
  /** Of the labels. */
  readonly smoothing: number;
}

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

/** Bindings: cls, dist; labels (i32) or targets; teacher; row_loss [rows] (vec2f: label, distillation); stats (vec4f). */
export const distilledCrossEntropyForward: Kernel<DistilledCrossEntropyProblem> = (problem, device) => {
  const { rows, width, target, smoothing } = problem;
  require(rows > 0 && width > 0, 'distilled_cross_entropy', 'sizes of at least 1', [rows, width]);
  require(smoothing >= 0 && smoothing <= 1, 'distilled_cross_entropy', '0 <= smoothing <= 1', smoothing);
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
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
      shape,
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
};

/**
 * The means over rows, and their weighted sum. Bindings: row_loss (vec2f); total, label, distillation (one element each).
 */
export const distilledTotal: Kernel<{ rows: number; alpha: number }> = ({ rows, alpha }) => [
  launch({
    name: 'distilled_cross_entropy.total',
    bindings: [input('row_loss', 'vec2f'), output('total'), output('label'), output('distillation')],
    uniforms: { n: u32(rows), factor: f32(1 / rows), label_weight: f32(1 - alpha), alpha: f32(alpha) },
    wgsl: /* wgsl */ `
${sumOfAllWgsl('row_loss', 'vec2f')}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let means = sum_of_row_loss(lane) * params.factor;
  if (lane == 0u) {
    label[0] = means.x;
    distillation[0] = means.y;
    total[0] = params.label_weight * means.x + params.alpha * means.y;
  }
}`,
    grid: [1, 1, 1],
    cost: { flops: 2 * rows, bytes: 8 * rows },
  }),
];

/** Bindings: cls, dist; targets, where the target is a distribution; stats (vec4f), dtotal (one element), dcls, ddist. */
export const distilledCrossEntropyBackward: Kernel<DistilledCrossEntropyProblem & { alpha: number }> = (
  problem,
  device,
) => {
  const { rows, width, target, smoothing, alpha } = problem;
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const hasLabels = target === 'labels';
  const logits = width * 4;
  const gradientOfCls = hasLabels
    ? 'label_gradient(cls[i], columns_of(c), kept_cls, params.smoothing, params.off)'
    : 'target_gradient(cls[i], targets[i], kept_cls)';
  return rowKernel(
    {
      name: `distilled_cross_entropy.backward/${target}`,
      shape,
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
};
