import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { bind, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Kernel, Launch } from '../lib/kernel.ts';
import { useOf } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { transposeInner } from '../shape/transpose.ts';
import { packedLength } from './problem.ts';
import type { MatmulOperand, MatmulProblem, Packed } from './problem.ts';
import type { ProductPlan } from './product-plan.ts';

/** Rows of a (`of` = 'a') or columns of b, `count` of them with k elements each. */
export interface PackProblem {
  readonly of: 'a' | 'b';
  readonly count: number;
  readonly k: number;
  readonly operand: MatmulOperand;
  /** Both hold f16. */
  readonly f16?: boolean;
}

/**
 * y[j, l] = a[j, l] or b[l, j], y [count, k padded with zeros to whole vectors]: the rows of a or the columns of b one
 * after the other, for the variant that loads vectors along k. Bindings x (the operand as it is stored) and y.
 */
export const packAlongK: Kernel<PackProblem> = ({ of, count, k, operand, f16 = false }, device) => {
  const { ld, offset = 0 } = operand;
  const follows = operand.transposed === (of === 'b');
  if (!follows && ld === count && !offset && count % 4 === 0 && k % 4 === 0) {
    const dims = [
      { size: count, stride: 1 },
      { size: k, stride: count },
    ];
    const transposed = transposeInner({ dims, offset: 0 }, device, f16 ? 'f16' : 'u32');
    if (transposed) return transposed;
  }
  const vectors = packedLength(k) / 4;
  const launches = [
    launch({
      name: `matmul.pack/${follows ? 'copy' : 'transpose'}`,
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
      cost: { flops: 0, bytes: (f16 ? 2 : 4) * count * (k + 4 * vectors) },
    }),
  ];
  return inF16(launches, f16 ? ['x', 'y'] : undefined);
};

/** Whether they can be packed: each for all batches at once, and a row-major in the end. */
function canBePacked({ a, b, batch = [] }: MatmulProblem, operands: Packed): boolean {
  if (b.padded || batch.some((axis) => axis.b !== 0)) return false;
  return operands === 'b' ? !a.transposed : batch.every((axis) => axis.size === 1);
}

/** How often an operand's elements must be loaded again (once a tile) before packing it pays. */
const WORTH_PACKING = 768;

const inVectors = ({ ld, offset = 0 }: MatmulOperand, k: number): boolean =>
  [k, ld, offset].every((size) => size % 4 === 0);

/** Whether the product is faster so, the time that packing takes included. */
function pays({ single }: ProductPlan, operands: Packed): boolean {
  const { a, b, m, n, k } = single!;
  if (m < WORTH_PACKING || operands !== (a.transposed ? 'ab' : 'b')) return false;
  return a.transposed ? n >= WORTH_PACKING : !b.transposed || !inVectors(b, k);
}

/** The variant that packs operands for another one, which loads vectors along k. */
export const packed = (operands: Packed, then: Variant<ProductPlan>): Variant<ProductPlan> => ({
  name: `packed_${operands}+${then.name}`,
  fits: (plan, device) =>
    plan.single !== null &&
    canBePacked(plan.problem, operands) &&
    plan.packed(operands).single !== null &&
    then.fits(plan.packed(operands), device),
  use: (plan, device) => {
    // Only a processor gains from it.
    if (!device.cpu) return 'named';
    const use = useOf(then, plan.packed(operands), device);
    return use === 'default' && !pays(plan, operands) ? 'tuned' : use;
  },
  launches: (plan, device) => {
    const { m, n, k, f16 } = plan.problem;
    const pack = (of: 'a' | 'b', count: number): Launch[] => {
      const isF16 = f16?.includes(of);
      const packing = packAlongK({ of, count, k, operand: plan.problem[of], f16: isF16 }, device);
      const elements = count * packedLength(k);
      return bind(
        packing,
        { x: of, y: `packed_${of}` },
        { [`packed_${of}`]: { elements, dtype: isF16 ? 'f16' : 'f32' } },
      );
    };
    const names: Record<string, string> = { b: 'packed_b', ...(operands === 'ab' && { a: 'packed_a' }) };
    return [
      ...pack('b', n),
      ...(operands === 'ab' ? pack('a', m) : []),
      ...bind(then.launches(plan.packed(operands), device), names),
    ];
  },
});
