import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import { inHalf } from '../lib/f16-storage.ts';
import { input, launch, output, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { transposeInner } from '../shape/transpose.ts';
import type { MatmulOperand } from './problem.ts';

/** Rows of a (`of` = 'a') or columns of b, `count` of them with k elements each. */
export interface LayAlongKProblem {
  readonly of: 'a' | 'b';
  readonly count: number;
  readonly k: number;
  readonly operand: MatmulOperand;
  /** Both hold f16. */
  readonly half?: boolean;
}

/** Elements of a laid row or column: k, in whole vectors. */
export const laidLength = (k: number): number => 4 * ceilDiv(k, 4);

/** A laid operand, as the product that follows sees it. */
export const laidOperand = (of: 'a' | 'b', k: number): MatmulOperand => ({
  ld: laidLength(k),
  transposed: of === 'b',
  padded: true,
});

/**
 * y[j, l] = a[j, l] or b[l, j], y [count, k padded with zeros to whole vectors]: the rows of a or the columns of b one
 * after the other, for the variant that loads vectors along k. Bindings x (the operand as it is stored) and y.
 */
export const layAlongK: Kernel<LayAlongKProblem> = ({ of, count, k, operand, half = false }, device) => {
  const { ld, offset = 0 } = operand;
  const follows = operand.transposed === (of === 'b');
  if (!follows && ld === count && !offset && count % 4 === 0 && k % 4 === 0) {
    const dims = [
      { size: count, stride: 1 },
      { size: k, stride: count },
    ];
    const turned = transposeInner({ dims, offset: 0 }, device, half ? 'f16' : 'u32');
    if (turned) return turned;
  }
  const vectors = laidLength(k) / 4;
  const launches = [
    launch({
      name: `matmul.lay_along_k/${follows ? 'copy' : 'turn'}`,
      bindings: [input('x'), output('y', 'vec4f')],
      uniforms: {
        count: u32(count),
        k: u32(k),
        vectors: u32(vectors),
        offset: u32(offset),
        stride: u32(follows ? ld : 1),
        step: u32(follows ? 1 : ld),
      },
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let i = linear_workgroup(workgroup, workgroups) * 64 + lane;
  if (i >= params.count * params.vectors) { return; }
  // Neighbours take what lies side by side in x: vectors of one row or column, or one vector of several.
  let j = ${follows ? 'i / params.vectors' : 'i % params.count'};
  let vector = ${follows ? 'i % params.vectors' : 'i / params.count'};
  let first = params.offset + j * params.stride;
  let l = vector * 4 + vec4u(0, 1, 2, 3);
  let at = first + min(l, vec4u(params.k - 1)) * params.step;
  y[j * params.vectors + vector] = select(vec4f(), vec4f(x[at.x], x[at.y], x[at.z], x[at.w]), l < vec4u(params.k));
}`,
      grid: foldGrid(ceilDiv(count * vectors, 64), device),
      cost: { flops: 0, bytes: (half ? 2 : 4) * count * (k + 4 * vectors) },
    }),
  ];
  return inHalf(launches, half ? ['x', 'y'] : undefined);
};
