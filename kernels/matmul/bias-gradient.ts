import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../device.ts';
import { input, launch, output, u32 } from '../kernel.ts';
import type { Kernel } from '../kernel.ts';

/** db[j] = sum_i dy[i, j] for dy [m, n]: one invocation a column. */
export const biasGradient: Kernel<{ m: number; n: number }> = ({ m, n }, device) => [
  launch({
    name: 'bias_gradient',
    bindings: [input('dy'), output('db')],
    uniforms: { m: u32(m), n: u32(n) },
    wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let j = linear_workgroup(workgroup, workgroups) * 64 + lane;
  if (j >= params.n) { return; }
  var sum = 0.0;
  for (var i = 0u; i < params.m; i++) { sum += dy[i * params.n + j]; }
  db[j] = sum;
}`,
    grid: foldGrid(ceilDiv(n, 64), device),
    cost: { flops: m * n, bytes: 4 * (m * n + n) },
  }),
];
