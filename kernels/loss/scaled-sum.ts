import { f32, input, launch, output, require, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';

/**
 * WGSL: `sum_of_<x>(lane)`, the sum of the `params.n` elements of the binding `x`, numbers or vectors, by one workgroup of 64;
 * lane 0 gets it. In fixed order: lanes sum strided, then pairwise, so the result is the same to the bit every time.
 */
export const sumOfAllWgsl = (x: string, type: 'f32' | 'vec2f'): string => /* wgsl */ `
var<workgroup> sums: array<${type}, 64>;
fn sum_of_${x}(lane: u32) -> ${type} {
  var sum = ${type}();
  for (var i = lane; i < params.n; i += 64u) { sum += ${x}[i]; }
  sums[lane] = sum;
  for (var step = 32u; step > 0u; step >>= 1u) {
    workgroupBarrier();
    if (lane < step) { sums[lane] += sums[lane + step]; }
  }
  return sums[0];
}`;

/** y[0] = factor * sum of x [n]: the last step of losses and counts over a batch. NaN in x makes y NaN. */
export const scaledSum: Kernel<{ n: number; factor: number }> = ({ n, factor }) => {
  require(n > 0, 'scaled_sum', 'at least one element', n);
  return [
    launch({
      name: 'scaled_sum',
      bindings: [input('x'), output('y')],
      uniforms: { n: u32(n), factor: f32(factor) },
      wgsl: /* wgsl */ `
${sumOfAllWgsl('x', 'f32')}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let sum = sum_of_x(lane);
  if (lane == 0u) { y[0] = sum * params.factor; }
}`,
      grid: [1, 1, 1],
      cost: { flops: n, bytes: 4 * n },
    }),
  ];
};
