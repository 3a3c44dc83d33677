import type { DeviceProfile } from '../../lib/device.ts';
import { f32, input, output, u32 } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { LOWEST, expWgsl, logWgsl } from '../../lib/math.ts';
import { perInvocation } from '../../lib/plain.ts';
import type { CrossEntropyProblem } from './problem.ts';

/**
 * WGSL: `label_loss_<logits>(first, label, smoothing)`, [m, 1 / s, y, loss] of the row of the binding `logits` that begins at
 * index `first`. Needs expWgsl and logWgsl.
 */
export const labelLossWgsl = (logits: string): string => /* wgsl */ `
fn label_loss_${logits}(first: u32, label: i32, smoothing: f32) -> vec4f {
  var m = ${LOWEST};
  for (var c = 0u; c < params.width; c++) { m = max(m, ${logits}[first + c]); }
  var s = 0.0;
  var z_sum = 0.0;
  var z_label = 0.0;
  for (var c = 0u; c < params.width; c++) {
    let z = ${logits}[first + c] - m;
    s += accurate_exp(z);
    z_sum += z;
    if (i32(c) == label) { z_label = z; }
  }
  let log_s = accurate_log(s);
  var loss = (1.0 - smoothing) * (log_s - z_label);
  // Without smoothing there is no such term: a masked class, whose logit is -infinity, would make it 0 times infinity.
  if (smoothing > 0.0) { loss += smoothing * (log_s - z_sum / f32(params.width)); }
  // A label that is no class: NaN, in a form that compilers do not refuse as a constant.
  if (label < 0 || label >= i32(params.width)) { loss = bitcast<f32>(0x7fc00000u | (u32(label) & 1u)); }
  return vec4f(m, 1.0 / s, f32(label), loss);
}`;

/** One invocation per row. */
export const forwardPlain = ({ rows, width, smoothing }: CrossEntropyProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'cross_entropy.forward/plain',
      bindings: [input('logits'), input('labels', 'i32'), output('row_loss'), output('stats', 'vec4f')],
      uniforms: { width: u32(width), smoothing: f32(smoothing) },
      functions: expWgsl + logWgsl + labelLossWgsl('logits'),
      count: rows,
      body: /* wgsl */ `
  let kept = label_loss_logits(i * params.width, labels[i], params.smoothing);
  row_loss[i] = kept.w;
  stats[i] = kept;`,
      cost: { flops: 8 * rows * width, bytes: 4 * rows * width },
    },
    device,
  ),
];

/** One invocation per element. */
export const backwardPlain = ({ rows, width, smoothing }: CrossEntropyProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'cross_entropy.backward/plain',
      bindings: [input('logits'), input('stats', 'vec4f'), input('dloss'), output('dlogits')],
      uniforms: { rows: u32(rows), width: u32(width), smoothing: f32(smoothing) },
      count: rows * width,
      body: /* wgsl */ `
  let kept = stats[i / params.width];
  let p = exp(logits[i] - kept.x) * kept.y;
  var wanted = params.smoothing / f32(params.width);
  if (i32(i % params.width) == i32(kept.z)) { wanted += 1.0 - params.smoothing; }
  dlogits[i] = dloss[0] / f32(params.rows) * (p - wanted);`,
      cost: { flops: 6 * rows * width, bytes: 8 * rows * width },
    },
    device,
  ),
];
