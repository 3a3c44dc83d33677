/**
 * Cross-entropy of logits z [rows, width] with hard labels y, smoothed by eps (PyTorch's convention, which spreads eps
 * over all classes):
 *
 *     loss(row) = (1 - eps) (L - z_y) + eps (L - mean(z)),   L = m + log(s),  m = max(z),  s = sum(exp(z - m))
 *     dz = (upstream / rows) (exp(z - m) / s - (1 - eps) [c = y] - eps / width)
 *
 * With eps = 0 a logit of -infinity masks its class; with eps > 0 it makes the loss infinite, and the gradient stays finite.
 *
 * Kept for backward: z and stats [rows, 4] of m, 1 / s, y and the loss. A label that is no class makes the loss NaN. Losses are
 * summed over rows by scaled-sum.ts. The gradient is written.
 *
 * What is done for a row is a WGSL function each, which distilled-cross-entropy uses too.
 */
import { f32, input, output, require } from '../../lib/kernel.ts';
import type { Kernel } from '../../lib/kernel.ts';
import { accurateExp, expWgsl, logWgsl } from '../../lib/math.ts';
import { planRows } from '../../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../../lib/rows.ts';
import type { RowPlan } from '../../lib/row-plan.ts';

export interface CrossEntropyProblem {
  readonly rows: number;
  readonly width: number;
  readonly smoothing: number;
}

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

/** Bindings: logits; labels (i32); row_loss [rows]; stats (vec4f). */
export const crossEntropyForward: Kernel<CrossEntropyProblem> = (problem, device) => {
  const { rows, width, smoothing } = problem;
  require(rows > 0 && width > 0, 'cross_entropy', 'sizes of at least 1', [rows, width]);
  require(smoothing >= 0 && smoothing <= 1, 'cross_entropy', '0 <= smoothing <= 1', smoothing);
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  return rowKernel(
    {
      name: 'cross_entropy.forward',
      shape,
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
};

/** Bindings: logits, stats (vec4f), dloss (one element), dlogits. */
export const crossEntropyBackward: Kernel<CrossEntropyProblem> = (problem, device) => {
  const { rows, width, smoothing } = problem;
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  return rowKernel(
    {
      name: 'cross_entropy.backward',
      shape,
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
};
