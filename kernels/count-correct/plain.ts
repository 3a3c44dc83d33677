import type { DeviceProfile } from '../lib/device.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { isNanWgsl } from '../lib/math.ts';
import { perInvocation } from '../lib/plain.ts';
import type { TopHitsProblem } from './problem.ts';

/** One invocation per row. */
export const topHitsPlain = ({ rows, width, k }: TopHitsProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'top_hits/plain',
      bindings: [input('logits'), input('labels', 'i32'), output('correct')],
      uniforms: { width: u32(width), k: u32(k) },
      functions: isNanWgsl,
      count: rows,
      body: /* wgsl */ `
  let label = u32(labels[i]);
  correct[i] = 0.0;
  // A negative label is a large unsigned one.
  if (label >= params.width) { return; }
  let first = i * params.width;
  let own = logits[first + label];
  var ahead = 0u;
  for (var c = 0u; c < params.width; c++) {
    let z = logits[first + c];
    if (z > own || (z == own && c < label)) { ahead += 1u; }
  }
  if (!is_nan(own) && ahead < params.k) { correct[i] = 1.0; }`,
      cost: { flops: 2 * rows * width, bytes: 4 * rows * width },
    },
    device,
  ),
];
