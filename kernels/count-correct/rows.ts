import type { DeviceProfile } from '../lib/device.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { isNanWgsl } from '../lib/math.ts';
import type { RowPlan } from '../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../lib/rows.ts';
import { shapeOf } from '../loss/logits.ts';
import type { TopHitsProblem } from './problem.ts';

/* The variants whose lanes share rows: see lib/row-plan.ts. */

export function topHitsOverRows(problem: TopHitsProblem, plan: RowPlan, device: DeviceProfile): Launch[] {
  const { rows, width, k } = problem;
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  return rowKernel(
    {
      name: 'top_hits',
      shape: shapeOf(problem),
      plan,
      bindings: [input('logits', element), input('labels', 'i32'), output('correct')],
      bytesPerSlice: { logits: width * 4, labels: 4, correct: 4 },
      uniforms: { k: u32(k) },
      functions: isNanWgsl,
      body: /* wgsl */ `
  let label = u32(labels[row]);
  let known = label < params.width;
  let column = min(label, params.width - 1u);
  let own = logits[base + column${plan.vector === 4 ? ' / 4u' : ''}]${plan.vector === 4 ? '[column % 4u]' : ''};
  var part = V(0);
  ${eachColumn(
    plan,
    /* wgsl */ `
    let z = logits[i];
    part += select(V(0), V(1), (z > V(own)) | ((z == V(own)) & (columns_of(c) < Columns(column))));`,
  )}
  let ahead = row_sum(part);
  if (lane == 0u) { correct[row] = select(0.0, 1.0, known && !is_nan(own) && ahead < f32(params.k)); }`,
      cost: { flops: 2 * rows * width, bytes: 4 * rows * width },
    },
    device,
  );
}
