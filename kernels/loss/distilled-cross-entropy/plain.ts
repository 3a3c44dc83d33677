import type { DeviceProfile } from '../../lib/device.ts';
import { f32, input, output, u32 } from '../../lib/kernel.ts';
import type { Launch } from '../../lib/kernel.ts';
import { expWgsl, isNanWgsl, logWgsl } from '../../lib/math.ts';
import { perInvocation } from '../../lib/plain.ts';
import { labelLossWgsl } from '../cross-entropy/plain.ts';
import { targetLossWgsl } from '../soft-target-cross-entropy/plain.ts';
import type { DistilledBackwardProblem, DistilledCrossEntropyProblem } from './problem.ts';

/** One invocation per row, both heads. */
export function forwardPlain(problem: DistilledCrossEntropyProblem, device: DeviceProfile): Launch[] {
  const { rows, width, target, smoothing } = problem;
  const hasLabels = target === 'labels';
  return [
    perInvocation(
      {
        name: `distilled_cross_entropy.forward/${target}/plain`,
        bindings: [
          input('cls'),
          input('dist'),
          hasLabels ? input('labels', 'i32') : input('targets'),
          input('teacher'),
          output('row_loss', 'vec2f'),
          output('stats', 'vec4f'),
        ],
        uniforms: { width: u32(width), smoothing: f32(smoothing) },
        functions: [
          ...[expWgsl, logWgsl, isNanWgsl, labelLossWgsl('dist')],
          hasLabels ? labelLossWgsl('cls') : targetLossWgsl('cls'),
        ].join(''),
        count: rows,
        body: /* wgsl */ `
  let first = i * params.width;
  // The teacher's decision: the first of its largest logits, and no class where one of them is NaN.
  var decision = 0;
  for (var c = 0u; c < params.width; c++) {
    let z = teacher[first + c];
    if (is_nan(z)) { decision = i32(params.width); }
    if (decision < i32(params.width) && z > teacher[first + u32(decision)]) { decision = i32(c); }
  }
  let kept_cls = ${hasLabels ? 'label_loss_cls(first, labels[i], params.smoothing)' : 'target_loss_cls(first)'};
  let kept_dist = label_loss_dist(first, decision, 0.0);
  row_loss[i] = vec2f(kept_cls.w, kept_dist.w);
  stats[2u * i] = kept_cls;
  stats[2u * i + 1u] = kept_dist;`,
        cost: { flops: 18 * rows * width, bytes: (hasLabels ? 12 : 16) * rows * width },
      },
      device,
    ),
  ];
}

/** One invocation per element, both heads. */
export function backwardPlain(problem: DistilledBackwardProblem, device: DeviceProfile): Launch[] {
  const { rows, width, target, smoothing, alpha } = problem;
  const hasLabels = target === 'labels';
  const wanted = hasLabels
    ? 'params.smoothing / f32(params.width) + select(0.0, 1.0 - params.smoothing, c == i32(kept_cls.z))'
    : 'targets[i]';
  return [
    perInvocation(
      {
        name: `distilled_cross_entropy.backward/${target}/plain`,
        bindings: [
          input('cls'),
          input('dist'),
          ...(hasLabels ? [] : [input('targets')]),
          input('stats', 'vec4f'),
          input('dtotal'),
          output('dcls'),
          output('ddist'),
        ],
        uniforms: { rows: u32(rows), width: u32(width), smoothing: f32(smoothing), alpha: f32(alpha) },
        count: rows * width,
        body: /* wgsl */ `
  let kept_cls = stats[2u * (i / params.width)];
  let kept_dist = stats[2u * (i / params.width) + 1u];
  let c = i32(i % params.width);
  let scale = dtotal[0] / f32(params.rows);
  let p_cls = exp(cls[i] - kept_cls.x) * kept_cls.y;
  let p_dist = exp(dist[i] - kept_dist.x) * kept_dist.y;
  dcls[i] = scale * (1.0 - params.alpha) * (p_cls${hasLabels ? '' : ' * kept_cls.z'} - (${wanted}));
  ddist[i] = scale * params.alpha * (p_dist - select(0.0, 1.0, c == i32(kept_dist.z)));`,
        cost: { flops: 12 * rows * width, bytes: (hasLabels ? 16 : 20) * rows * width },
      },
      device,
    ),
  ];
}
