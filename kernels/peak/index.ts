/**
 * The peak of an adapter's f32 arithmetic and of its memory bandwidth. Other kernels are measured against these two. No gradient.
 *
 * Cost: that of the arithmetic and of the copy, since there is nothing else. `deit kernel arithmetic_peak` and `deit kernel bandwidth_peak` show the kernels.
 */
import { f32, input, launch, output, require, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { range } from '../lib/unroll.ts';

/** Independent chains of multiply-adds in one invocation: enough to hide the latency of each. */
const CHAINS = 8;
const LANES = 4;
const WORKGROUP = 64;

export interface ArithmeticProblem {
  readonly workgroups: number;
  /** Multiply-adds in each chain. */
  readonly rounds: number;
}

/**
 * Arithmetic and hardly any memory: every lane of every vector repeats x <- x * a + b with a = 0.5, b = 1, whose fixed
 * point 2 is reached exactly, and stores the sum of its chains in y [workgroups * 64 * 4]: 16. What it reaches is the
 * adapter's practical peak of f32 arithmetic, against which other kernels are measured.
 */
export const arithmeticPeak: Kernel<ArithmeticProblem> = ({ workgroups, rounds }) => {
  require(workgroups > 0 && rounds > 0, 'arithmetic_peak', 'positive sizes', [workgroups, rounds]);
  const chains = range(CHAINS).map((i) => `x${i}`);
  const invocations = workgroups * WORKGROUP;
  return [
    launch({
      name: 'peak.arithmetic',
      bindings: [output('y', 'vec4f')],
      uniforms: { rounds: u32(rounds), a: f32(0.5), b: f32(1) },
      wgsl: /* wgsl */ `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = vec4f(params.a);
  let b = vec4f(params.b);
  ${chains.map((x, i) => `var ${x} = vec4f(${i}.0);`).join('\n  ')}
  for (var round = 0u; round < params.rounds; round++) {
    ${chains.map((x) => `${x} = fma(${x}, a, b);`).join('\n    ')}
  }
  y[id.x] = ${chains.join(' + ')};
}`,
      grid: [workgroups, 1, 1],
      cost: { flops: 2 * rounds * CHAINS * LANES * invocations, bytes: 16 * invocations },
    }),
  ];
};

/** Memory and no arithmetic: y <- x, both [workgroups * 64 * 4 * vectors], four neighbours per access. */
export const bandwidthPeak: Kernel<{ workgroups: number; vectors: number }> = ({ workgroups, vectors }) => {
  require(workgroups > 0 && vectors > 0, 'bandwidth_peak', 'positive sizes', [workgroups, vectors]);
  return [
    launch({
      name: 'peak.bandwidth',
      bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
      uniforms: { vectors: u32(vectors) },
      wgsl: /* wgsl */ `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first = group.x * ${WORKGROUP}u * params.vectors + lane;
  for (var i = 0u; i < params.vectors; i++) { y[first + i * ${WORKGROUP}u] = x[first + i * ${WORKGROUP}u]; }
}`,
      grid: [workgroups, 1, 1],
      cost: { flops: 0, bytes: 2 * 16 * vectors * WORKGROUP * workgroups },
    }),
  ];
};
