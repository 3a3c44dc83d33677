import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../device.ts';
import { inHalf } from '../half.ts';
import { input, launch, output, u32 } from '../kernel.ts';
import type { Kernel } from '../kernel.ts';
import { transposeInner } from '../transpose.ts';
import type { MatmulOperand } from './problem.ts';

export interface LayColumnsProblem {
  readonly n: number;
  readonly k: number;
  readonly b: MatmulOperand;
  /** Both hold f16. */
  readonly half?: boolean;
}

/** Elements of a laid column: k, in whole vectors. */
export const laidLength = (k: number): number => 4 * ceilDiv(k, 4);

/**
 * y[j, l] = b[l, j], y [n, k padded with zeros to whole vectors]: the columns of b one after the other, for the variant
 * that loads vectors along k. Bindings x (b as it is stored) and y.
 */
export const layColumns: Kernel<LayColumnsProblem> = ({ n, k, b, half = false }, device) => {
  if (!b.transposed && b.ld === n && !b.offset && n % 4 === 0 && k % 4 === 0) {
    const dims = [
      { size: n, stride: 1 },
      { size: k, stride: n },
    ];
    const turned = transposeInner({ dims, offset: 0 }, device, half ? 'f16' : 'u32');
    if (turned) return turned;
  }
  const vectors = laidLength(k) / 4;
  const launches = [
    launch({
      name: 'matmul.lay_columns',
      bindings: [input('x'), output('y', 'vec4f')],
      uniforms: {
        n: u32(n),
        k: u32(k),
        vectors: u32(vectors),
        offset: u32(b.offset ?? 0),
        column: u32(b.transposed ? b.ld : 1),
        step: u32(b.transposed ? 1 : b.ld),
      },
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let i = linear_workgroup(workgroup, workgroups) * 64 + lane;
  // Neighbours take neighbouring columns, which lie side by side in b.
  let j = i % params.n;
  let vector = i / params.n;
  if (vector >= params.vectors) { return; }
  var value = vec4f();
  for (var l = 0u; l < 4; l++) {
    let at = vector * 4 + l;
    if (at < params.k) { value[l] = x[params.offset + j * params.column + at * params.step]; }
  }
  y[j * params.vectors + vector] = value;
}`,
      grid: foldGrid(ceilDiv(n * vectors, 64), device),
      cost: { flops: 0, bytes: (half ? 2 : 4) * n * (k + 4 * vectors) },
    }),
  ];
  return inHalf(launches, half ? ['x', 'y'] : undefined);
};
