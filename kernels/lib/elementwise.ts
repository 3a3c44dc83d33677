import { ceilDiv, CPU_LANES, foldGrid, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { bytesOfElement, inF16 } from './f16-storage.ts';
import { launch, require, splitRows, u32 } from './kernel.ts';
import type { Binding, Cost, Launch, Uniforms } from './kernel.ts';
import { perInvocation, plain } from './plain.ts';
import { kernelOf } from './variant.ts';
import type { VariantKernel } from './variant.ts';

const vectorBytes = (binding: Binding, f16?: readonly string[]): number =>
  4 * (/vec4(h|<f16>)/.test(binding.type) ? 2 : bytesOfElement(f16, binding.name));

/** Elements of a vector. */
const VECTOR = 4;

/** How vectors are shared out: a workgroup takes `workgroup` x `turns` of them, in turns of a vector per invocation. */
interface Share {
  readonly workgroup: number;
  readonly turns: number;
}

/** What saturates the memory of GPUs. */
const GPU_SHARE: Share = { workgroup: 64, turns: 4 };
/** A processor spends as much on starting a workgroup as on dozens of turns, but all of its cores want work. */
const CPU_TURNS = 64;
const CPU_WORKGROUPS = 128;

function shareOf(vectors: number, device: DeviceProfile): Share {
  if (!device.cpu) return GPU_SHARE;
  const turns = Math.floor(vectors / CPU_LANES / CPU_WORKGROUPS);
  return { workgroup: CPU_LANES, turns: Math.min(CPU_TURNS, Math.max(1, turns)) };
}

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
  f16?: readonly string[];
  /** Directives such as `f16`. */
  enables?: readonly string[];
  /** WGSL functions that the body calls. */
  functions?: string;
  /** Statements for vector number `i`, for example `y[i] = max(x[i], vec4f(0));`. */
  body: string;
  flopsPerElement: number;
  /** Bytes of `shared` bindings that the formula reads or writes per element; 0 if left out. */
  sharedBytes?: number;
}

/**
 * y[i] = f(x[i], ...) over operands of equal size: an invocation handles several vectors, a workgroup apart, so that loads
 * coalesce. Tensors are padded to 16 bytes, hence no scalar tail. Split where a binding would be too large.
 */
export function elementwise(spec: ElementwiseSpec, device: DeviceProfile): Launch[] {
  const vectors = ceilDiv(spec.n, VECTOR);
  const bytesPerRow = Object.fromEntries(
    spec.bindings.map((binding) => [binding.name, vectorBytes(binding, spec.f16)]),
  );
  const shared = spec.shared ?? [];
  const launches = splitRows(vectors, bytesPerRow, device, spec.name).map(({ start, rows, ranges }) => {
    const { workgroup, turns } = shareOf(rows, device);
    return launch({
      name: spec.name,
      bindings: [...spec.bindings, ...shared],
      uniforms: { vectors: u32(rows), first_vector: u32(start), turns: u32(turns), ...spec.uniforms },
      enables: spec.enables,
      ranges,
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${spec.functions ?? ''}
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let first = linear_workgroup(workgroup, workgroups) * ${workgroup}u * params.turns + lane;
  ${device.cpu ? cpuLoop(spec.body) : gpuLoop(spec.body)}
}`,
      grid: foldGrid(ceilDiv(rows, workgroup * turns), device),
      cost: costOf(spec, rows),
    });
  });
  return inF16(launches, spec.f16);
}

const costOf = ({ flopsPerElement, sharedBytes = 0, bindings, f16 }: ElementwiseSpec, vectors: number): Cost => ({
  flops: flopsPerElement * vectors * VECTOR,
  bytes: vectors * (VECTOR * sharedBytes + bindings.reduce((sum, binding) => sum + vectorBytes(binding, f16), 0)),
});

/** The same as a lesson: one invocation per vector, and no loop. */
export function elementwisePlain(spec: ElementwiseSpec, device: DeviceProfile): Launch[] {
  const { name, bindings, shared = [], uniforms, enables, functions, body, f16 } = spec;
  const vectors = ceilDiv(spec.n, VECTOR);
  const kernel = perInvocation(
    {
      name: `${name}/plain`,
      bindings: [...bindings, ...shared],
      uniforms: { first_vector: u32(0), ...uniforms },
      enables,
      functions,
      count: vectors,
      body,
      cost: costOf(spec, vectors),
    },
    device,
  );
  return inF16([kernel], f16);
}

/**
 * A kernel that computes each element for itself. The formula is the body of its specification; the variants differ in how
 * vectors are shared out: `strided`, several an invocation, or `plain`, one each.
 */
export const pointwise = <Problem>(
  id: string,
  spec: (problem: Problem, device: DeviceProfile) => ElementwiseSpec,
): VariantKernel<Problem> =>
  kernelOf<Problem, ElementwiseSpec>(id, (problem, device) => checked(spec(problem, device)), [
    { name: 'strided', fits: () => true, launches: elementwise },
    plain(({ n }) => 4 * n, elementwisePlain),
  ]);

function checked(spec: ElementwiseSpec): ElementwiseSpec {
  require(spec.n > 0, spec.name, 'at least one element', spec.n);
  return spec;
}

/** A constant number of turns, for the compiler to unroll: their loads are then under way together. */
const gpuLoop = (body: string): string => /* wgsl */ `
  for (var turn = 0u; turn < ${GPU_SHARE.turns}u; turn++) {
    let i = first + turn * ${GPU_SHARE.workgroup}u;
    if (i < params.vectors) {
      ${body}
    }
  }`;

/** One body of code, which a processor's instruction cache holds, and the loop's end as the only test for the edge. */
const cpuLoop = (body: string): string => /* wgsl */ `
  let rest = (max(params.vectors, first) - first + ${CPU_LANES - 1}u) / ${CPU_LANES}u;
  let turns = min(params.turns, rest);
  for (var turn = 0u; turn < turns; turn++) {
    let i = first + turn * ${CPU_LANES}u;
    ${body}
  }`;
