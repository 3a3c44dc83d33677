import { ceilDiv, foldGrid, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { bytesOfElement, inHalf } from './half.ts';
import { launch, splitRows, u32 } from './kernel.ts';
import type { Binding, Launch, Uniforms } from './kernel.ts';

const vectorBytes = (binding: Binding, half?: readonly string[]): number =>
  4 * (/vec4(h|<f16>)/.test(binding.type) ? 2 : bytesOfElement(half, binding.name));

/** Invocations a workgroup, and vec4 elements an invocation: what saturates memory on GPUs and on lavapipe alike. */
const WORKGROUP = 64;
const VECTORS = 4;
const GRANULE = 4;

export interface ElementwiseSpec {
  name: string;
  /** Elements of every operand. */
  n: number;
  /** Bindings of arrays of `vec4<...>`, all of n elements (padded to whole vectors). */
  bindings: readonly Binding[];
  /** Bindings of any size, bound whole to every launch; of these, vector `i + params.first_vector` is meant. */
  shared?: readonly Binding[];
  uniforms?: Uniforms;
  /** Names of `bindings` that hold f16: the body sees f32 nevertheless. */
  half?: readonly string[];
  /** Directives such as `f16`. */
  enables?: readonly string[];
  /** WGSL functions that the body calls. */
  functions?: string;
  /** Statements for vector number `i`, for example `y[i] = max(x[i], vec4f(0));`. */
  body: string;
  flopsPerElement: number;
}

/**
 * y[i] = f(x[i], ...) over operands of equal size: each invocation handles four vectors, a workgroup apart, so that
 * loads coalesce. Tensors are padded to 16 bytes, hence no scalar tail. Split where a binding would be too large.
 */
export function elementwise(spec: ElementwiseSpec, device: DeviceProfile): Launch[] {
  const vectors = ceilDiv(spec.n, GRANULE);
  const bytesPerRow = Object.fromEntries(
    spec.bindings.map((binding) => [binding.name, vectorBytes(binding, spec.half)]),
  );
  const shared = spec.shared ?? [];
  const launches = splitRows(vectors, bytesPerRow, device, spec.name).map(({ start, rows, ranges }) =>
    launch({
      name: spec.name,
      bindings: [...spec.bindings, ...shared],
      uniforms: { vectors: u32(rows), first_vector: u32(start), ...spec.uniforms },
      enables: spec.enables,
      ranges,
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${spec.functions ?? ''}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let base = linear_workgroup(workgroup, workgroups) * ${WORKGROUP * VECTORS}u + lane;
  for (var v = 0u; v < ${VECTORS}u; v++) {
    let i = base + v * ${WORKGROUP}u;
    if (i < params.vectors) {
      ${spec.body}
    }
  }
}`,
      grid: foldGrid(ceilDiv(rows, WORKGROUP * VECTORS), device),
      cost: {
        flops: spec.flopsPerElement * rows * GRANULE,
        bytes: rows * Object.values(bytesPerRow).reduce((sum, bytes) => sum + bytes, 0),
      },
    }),
  );
  return inHalf(launches, spec.half);
}
