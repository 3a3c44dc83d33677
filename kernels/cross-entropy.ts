import { f32, input, output, require } from './kernel.ts';
import type { Kernel } from './kernel.ts';
import { accurateExp, expWgsl, logWgsl } from './math.ts';
import { eachColumn, planRows, rowKernel } from './rows.ts';

/*
 * Cross-entropy of logits z [rows, width] with hard labels y, smoothed by eps (PyTorch's convention, which spreads eps
 * over all classes):
 *
 *     loss(row) = (1 - eps) (L - z_y) + eps (L - mean(z)),   L = m + log(s),  m = max(z),  s = sum(exp(z - m))
 *     dz = (upstream / rows) (exp(z - m) / s - (1 - eps) [c = y] - eps / width)
 *
 * The labels are given, or are the argmax of a teacher's logits (the first of equal ones), found in the same pass. Kept
 * for backward: z and stats [rows, 4] of m, 1 / s, y. A label that is no class makes the loss NaN. Losses are summed over
 * rows by scaled-sum.ts. The gradient is written.
 */

export interface CrossEntropyProblem {
  readonly rows: number;
  readonly width: number;
  readonly smoothing: number;
  readonly labels: 'given' | 'teacher';
}

/** WGSL: `chosen`, the label of the row as u32, from the binding `labels` or `teacher`. */
const TEACHER_LABEL = (loop: (body: string) => string) => /* wgsl */ `
  var best = V(LOWEST);
  ${loop('best = max(best, teacher[i]);')}
  let best_value = row_max(best);
  // The smallest index is found as the largest negative one.
  var first = V(LOWEST);
  ${loop('first = max(first, select(V(LOWEST), -V(columns_of(c)), teacher[i] == V(best_value)));')}
  let label = i32(min(-row_max(first), 2147483520.0));`;

/** Bindings: logits; labels (i32) or teacher; row_loss [rows]; stats (vec4f). */
export const crossEntropyForward: Kernel<CrossEntropyProblem> = (problem, device) => {
  const { rows, width, smoothing, labels } = problem;
  require(rows > 0 && width > 0, 'cross_entropy', 'sizes of at least 1', [rows, width]);
  require(smoothing >= 0 && smoothing <= 1, 'cross_entropy', '0 <= smoothing <= 1', smoothing);
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  const loop = (body: string) => eachColumn(plan, body);
  const source = labels === 'given' ? input('labels', 'i32') : input('teacher', element);
  return rowKernel(
    {
      name: `cross_entropy.forward/${labels}`,
      shape,
      plan,
      bindings: [input('logits', element), source, output('row_loss'), output('stats', 'vec4f')],
      bytesPerSlice: { logits: width * 4, [source.name]: labels === 'given' ? 4 : width * 4, row_loss: 4, stats: 16 },
      uniforms: { smoothing: f32(smoothing), one_minus_smoothing: f32(1 - smoothing) },
      functions: expWgsl + logWgsl,
      body: /* wgsl */ `
  ${labels === 'given' ? 'let label = labels[row];' : TEACHER_LABEL(loop)}
  let known = label >= 0 && label < i32(params.width);
  var largest = V(LOWEST);
  ${loop('largest = max(largest, logits[i]);')}
  let m = row_max(largest);
  var part = V(0);
  var part_z = V(0);
  var part_y = V(0);
  ${loop(`
    let z = logits[i] - m;
    part += ${accurateExp(plan.vector)}(z);
    part_z += z;
    part_y += select(V(0), z, columns_of(c) == Columns(u32(label)));`)}
  let s = row_sum(part);
  let log_s = accurate_log(s);
  let mean_z = row_sum(part_z) / f32(params.width);
  let z_label = row_sum(part_y);
  if (lane == 0u) {
    let loss = params.one_minus_smoothing * (log_s - z_label) + params.smoothing * (log_s - mean_z);
    row_loss[row] = select(bitcast<f32>(0x7fc00000u | (u32(label) & 1u)), loss, known);
    stats[row] = vec4f(m, 1.0 / s, f32(label), 0);
  }`,
      cost: { flops: 8 * rows * width, bytes: (labels === 'given' ? 4 : 8) * rows * width },
    },
    device,
  );
};

/** Bindings: logits, stats (vec4f), dloss (one element), dlogits. */
export const crossEntropyBackward: Kernel<Omit<CrossEntropyProblem, 'labels'>> = (problem, device) => {
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
      body: /* wgsl */ `
  let scale = dloss[0] * params.scale;
  let kept = stats[row];
  let label = Columns(u32(i32(kept.z)));
  ${eachColumn(
    plan,
    /* wgsl */ `
    let p = exp(logits[i] - kept.x) * kept.y;
    let one = select(V(0), V(1), columns_of(c) == label);
    dlogits[i] = scale * ((p - one) + (params.smoothing * one - params.off));`,
  )}`,
      cost: { flops: 6 * rows * width, bytes: 8 * rows * width },
    },
    device,
  );
};
