import { CPU_LANES, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import { bytesOfElement, inF16 } from '../lib/f16-storage.ts';
import { f32, input, launch, output, require, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';

/** A convolution's filters, of `depth` weights each, and the epsilon of the batch norm behind it. */
export interface FoldNormProblem {
  readonly filters: number;
  readonly depth: number;
  readonly eps: number;
  /** Whether the folded weights are f16 in memory. */
  readonly f16?: readonly 'folded'[];
}

/**
 * A convolution and the batch norm behind it, with constant statistics, as one convolution:
 *   folded[o, k] = weight[o, k] s[o],   bias[o] = shift[o] - mean[o] s[o],   s = scale / sqrt(variance + eps)
 * as torch.nn.utils.fuse_conv_bn_eval has it. Bindings weight, scale, shift, mean, variance, folded, bias.
 */
export const foldNorm: Kernel<FoldNormProblem> = ({ filters, depth, eps, f16 }, device) => {
  require([filters, depth].every((n) => Number.isInteger(n) && n >= 1), 'conv2d.fold_norm', 'positive sizes', {
    filters,
    depth,
  });
  const [unit, element] = depth % 4 === 0 ? [4, 'vec4f'] : [1, 'f32'];
  const lanes = device.cpu ? CPU_LANES : 64;
  const own = launch({
    name: `conv2d.fold_norm/${element}`,
    bindings: [
      input('weight', element),
      input('scale'),
      input('shift'),
      input('mean'),
      input('variance'),
      output('folded', element),
      output('bias'),
    ],
    uniforms: { filters: u32(filters), depth: u32(depth / unit), eps: f32(eps) },
    wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  // A workgroup has one filter.
  let filter_number = linear_workgroup(workgroup, workgroups);
  if (filter_number >= params.filters) { return; }
  let factor = scale[filter_number] / sqrt(variance[filter_number] + params.eps);
  for (var k = lane; k < params.depth; k += ${lanes}u) {
    let at = filter_number * params.depth + k;
    folded[at] = weight[at] * factor;
  }
  if (lane == 0u) { bias[filter_number] = shift[filter_number] - mean[filter_number] * factor; }
}`,
    grid: foldGrid(filters, device),
    cost: {
      flops: filters * (depth + 4),
      bytes: filters * ((4 + bytesOfElement(f16, 'folded')) * depth + 20),
    },
  });
  return inF16([own], f16);
};
