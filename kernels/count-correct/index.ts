/**
 * Top-k hits: correct[row] = 1 if the logit of the row's label is among the k largest (of equal ones the first counts as
 * the larger, as argmax has it), else 0. A label that is no class, or whose logit is NaN, is never a hit.
 * Bindings: logits [rows, width], labels (i32), correct [rows]. Summed over rows by loss/scaled-sum.ts.
 */
import { input, output, require, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { isNanWgsl } from '../lib/math.ts';
import { planRows } from '../lib/row-plan.ts';
import { eachColumn, rowKernel } from '../lib/rows.ts';

export const topHits: Kernel<{ rows: number; width: number; k: number }> = ({ rows, width, k }, device) => {
  require(rows > 0 && width > 0, 'top_hits', 'sizes of at least 1', [rows, width]);
  require(k >= 1, 'top_hits', 'k >= 1', k);
  const shape = { outer: rows, width, inner: 1 };
  const plan = planRows(shape, device);
  const element = plan.vector === 4 ? 'vec4f' : 'f32';
  return rowKernel(
    {
      name: 'top_hits',
      shape,
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
};
