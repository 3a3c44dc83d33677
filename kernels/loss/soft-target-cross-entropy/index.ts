/**
 * Cross-entropy of logits z [rows, width] with target distributions t of the same shape (mixup, cutmix, smoothing):
 *
 *     loss(row) = sum(t (L - z)),   L = m + log(s),  m = max(z),  s = sum(exp(z - m))
 *     dz = (upstream / rows) (exp(z - m) / s sum(t) - t)
 *
 * Targets need not sum to one. Kept for backward: z, t and stats [rows, 4] of m, 1 / s, sum(t) and the loss. Losses are
 * summed over rows by scaled-sum.ts. Targets are constants: they get no gradient. The gradient is written.
 *
 * What is done for a row is a WGSL function each, which distilled-cross-entropy uses too.
 */
import { f32, input, output, require } from '../../lib/kernel.ts';
import type { Kernel } from '../../lib/kernel.ts';
import { accurateExp, expWgsl, logWgsl } from '../../lib/math.ts';
import { planRows } from '../../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../../lib/rows.ts';
import type { RowPlan } from '../../lib/row-plan.ts';

export interface SoftTargetProblem {
  readonly rows: number;
  readonly width: number;
}

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

/** Bindings: logits, targets, row_loss [rows], stats (vec4f). */
export const softTargetForward: Kernel<SoftTargetProblem> = ({ rows, width }, device) => {
  require(rows > 0 && width > 0, 'soft_target_cross_entropy', 'sizes of at least 1', [rows, width]);
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  return rowKernel(
    {
      name: 'soft_target_cross_entropy.forward',
      shape,
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
};

/** Bindings: logits, targets, stats (vec4f), dloss (one element), dlogits. */
export const softTargetBackward: Kernel<SoftTargetProblem> = ({ rows, width }, device) => {
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const operands = [input('logits', element), input('targets', element), input('stats', 'vec4f')];
  return rowKernel(
    {
      name: 'soft_target_cross_entropy.backward',
      shape,
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
};
