/**
 * Dynamic loss scaling by the rule of torch.amp.GradScaler (PyTorch's `_amp_update_scale_`), without a word to the host:
 *
 *     some gradient or loss not finite:  no update;  scale <- scale * backoff;  tracker <- 0;  skipped <- skipped + 1
 *     else:                              tracker <- tracker + 1;  once that is `interval`:
 *                                        scale <- scale * growth, unless that overflows;  tracker <- 0
 *
 * The loss was multiplied by scale, so the gradient is to be divided by it. On entry norm[0] and norm[1] are those of the
 * scaled gradient (grad-norm); on return
 *
 *     norm = [norm of the gradient, what is not finite, 1 / scale, faults]
 *
 * with the scale that the gradient was made with. Faults are what no smaller scale will mend: losses that were not finite
 * (`guard`, see non-finite), and gradients that were not even though the scale was at most 1. guard becomes their number if
 * they are to hold up all later steps too, else 0.
 *
 * Cost: one dispatch of one invocation. `deit kernel grad_scaler` shows the kernel.
 */
import { ceilDiv } from '../../lib/device.ts';
import { f32, input, launch, output, require, u32 } from '../../lib/kernel.ts';
import type { Kernel } from '../../lib/kernel.ts';

export interface ScalerProblem {
  readonly growth: number;
  readonly backoff: number;
  /** Good steps until the scale grows. */
  readonly interval: number;
  /** Whether there is a binding `guard`, and whether faults are for good. */
  readonly guard: boolean;
  readonly permanent: boolean;
}

/** Bindings norm [4], scale, tracker, skipped [1], and guard [1] if there is one. */
export const scalerStep: Kernel<ScalerProblem> = ({ growth, backoff, interval, guard, permanent }) => {
  require(growth > 1 && backoff > 0 && backoff < 1, 'grad_scaler', 'growth > 1 and 0 < backoff < 1', [growth, backoff]);
  require(Number.isInteger(interval) && interval > 0, 'grad_scaler', 'an interval of whole steps', interval);
  const state = ['norm', 'scale', 'tracker', 'skipped', ...(guard ? ['guard'] : [])];
  return [
    launch({
      name: 'grad_scaler',
      bindings: state.map((name) => output(name)),
      uniforms: { growth: f32(growth), backoff: f32(backoff), interval: f32(interval) },
      wgsl: /* wgsl */ `
@compute @workgroup_size(1)
fn main() {
  let used = scale[0];
  let losses = ${guard ? 'guard[0]' : '0.0'};
  let bad = norm[1] + losses;
  let faults = losses + select(0.0, norm[1], used <= 1.0);
  norm[0] = norm[0] / used;
  norm[1] = bad;
  norm[2] = 1.0 / used;
  norm[3] = faults;
  ${guard ? `guard[0] = ${permanent ? 'faults' : '0.0'};` : ''}
  if (bad > 0.0) {
    scale[0] = used * params.backoff;
    tracker[0] = 0.0;
    skipped[0] += 1.0;
  } else if (tracker[0] + 1.0 < params.interval) {
    tracker[0] += 1.0;
  } else {
    let grown = used * params.growth;
    scale[0] = select(used, grown, (bitcast<u32>(grown) & 0x7f800000u) != 0x7f800000u);
    tracker[0] = 0.0;
  }
}`,
      grid: [1, 1, 1],
      cost: { flops: 4, bytes: 40 },
    }),
  ];
};

export interface AdamWSkippedProblem {
  readonly groups: number;
  readonly beta1: number;
  readonly beta2: number;
}

/**
 * Adam's bias corrections without the steps that were skipped. `hyper` holds a row per group (adamw) as for step number s,
 * and after them a row that begins with s; of those steps `skipped` were none:
 *
 *     lr / (1 - beta1^s)  and  sqrt(1 - beta2^s)        become those of s - skipped
 *
 * Bindings hyper (vec4f), skipped [1].
 */
export const adamWSkipped: Kernel<AdamWSkippedProblem> = ({ groups, beta1, beta2 }) => [
  launch({
    name: 'adamw.skipped',
    bindings: [output('hyper', 'vec4f'), input('skipped')],
    uniforms: { groups: u32(groups), log1: f32(boundedLog(beta1)), log2: f32(boundedLog(beta2)) },
    wgsl: /* wgsl */ `
// 1 - exp(x) for x <= 0, near 0 by its series: there the difference would have no digits left.
fn complement(x: f32) -> f32 {
  if (x < -0.5) { return 1.0 - exp(x); }
  var sum = 1.0;
  for (var i = 10.0; i > 1.0; i -= 1.0) { sum = 1.0 + x / i * sum; }
  return -x * sum;
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3u) {
  if (at.x >= params.groups || skipped[0] == 0.0) { return; }
  let all = hyper[params.groups].x;
  let taken = max(all - skipped[0], 1.0);
  var row = hyper[at.x];
  row.y *= complement(all * params.log1) / complement(taken * params.log1);
  row.z *= sqrt(complement(taken * params.log2) / complement(all * params.log2));
  hyper[at.x] = row;
}`,
    grid: [ceilDiv(groups, 64), 1, 1],
    cost: { flops: 60 * groups, bytes: 32 * groups },
  }),
];

/** The logarithm of a decay; of 0, one after which nothing is left of anything. */
const boundedLog = (beta: number): number => Math.max(Math.log(beta), -1e4);
