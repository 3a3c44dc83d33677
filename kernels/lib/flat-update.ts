import { ceilDiv, foldGrid, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { f32, input, launch, require, splitRows, u32 } from './kernel.ts';
import type { Binding, Cost, Launch, Uniforms } from './kernel.ts';
import { perInvocation, plain } from './plain.ts';
import { kernelOf } from './variant.ts';
import type { VariantKernel } from './variant.ts';

/*
 * What the kernels on flat buffers share. A flat buffer holds the tensors of a model one after another, each at a
 * 256-byte boundary, so it consists of blocks of 64 elements that belong to one tensor each. A table of one word per block
 * says which elements are real and which settings apply:
 *
 *     blocks[b] = valid | group << 8        valid: leading elements of the block that belong to its tensor, 0..64
 *
 * Elements past `valid` are padding. Kernels that write gradients may leave anything there, NaN included.
 */

export const BLOCK_ELEMENTS = 64;
const BLOCK_VECTORS = BLOCK_ELEMENTS / 4;
const WORKGROUP = 64;
const VECTORS = 4;

/** `blocks` entry of a block. */
export const blockWord = (valid: number, group: number): number => valid + group * 256;

/** WGSL: a vector without the padding of its block; `vector` is its index in the flat buffer (of this launch). */
export const withoutPaddingWgsl = /* wgsl */ `
fn without_padding(value: vec4f, vector: u32, block: u32) -> vec4f {
  let first = (vector % ${BLOCK_VECTORS}u) * 4u;
  return select(vec4f(0), value, vec4u(first, first + 1u, first + 2u, first + 3u) < vec4u(block & 0xffu));
}
`;

/** How an update reads the gradient: as it is, or scaled and guarded by a measured norm. */
export interface ClipProblem {
  /**
   * null: no norm is bound. Else the binding `norm` holds [norm, number of non-finite elements]: the gradient is
   * multiplied by min(1, maxNorm / (norm + 1e-6)) (not at all if maxNorm is 0), and nothing is updated if any element
   * was not finite.
   */
  readonly maxNorm: number | null;
  /** The gradient is that of a scaled loss: `norm` has a third number, which it is multiplied by (optimizer/grad-scaler). */
  readonly scaled?: boolean;
}

export interface FlatUpdateSpec extends ClipProblem {
  name: string;
  /** Elements of every flat buffer, a multiple of 64. */
  n: number;
  /** Flat buffers as arrays of vec4f. `gradients` must be among them. */
  buffers: readonly Binding[];
  uniforms: Uniforms;
  /**
   * Statements for vector `i`, given `setting` (the group's four numbers from `hyper`) and `g`, the gradient times
   * `setting.w` and the clip coefficient, zero in the padding.
   */
  body: string;
  flopsPerElement: number;
}

/**
 * An in-place update of flat buffers. Besides the buffers it binds `blocks` (array<u32>, above), `hyper` (array<vec4f>,
 * one vector per group: the host rewrites it before each step, so that a replayed step sees new values; its last number
 * scales the gradient) and, with clipping, `norm` (array<f32>, two elements or more).
 */
export const flatUpdate = <Problem extends ClipProblem>(
  id: string,
  spec: (problem: Problem) => FlatUpdateSpec,
): VariantKernel<Problem> =>
  kernelOf<Problem, FlatUpdateSpec>(id, (problem) => checked(spec(problem)), [
    { name: 'strided', fits: () => true, launches: strided },
    plain(({ n }) => 4 * n, onePerInvocation),
  ]);

function checked(spec: FlatUpdateSpec): FlatUpdateSpec {
  const { n, name, maxNorm, scaled } = spec;
  require(n > 0 && n % BLOCK_ELEMENTS === 0, name, 'n is a positive multiple of 64', n);
  require(maxNorm === null || maxNorm >= 0, name, 'maxNorm is null or at least 0', maxNorm);
  require(maxNorm !== null || !scaled, name, 'a norm, if gradients are scaled', maxNorm);
  return spec;
}

const bindingsOf = ({ buffers, maxNorm }: FlatUpdateSpec): Binding[] => [
  ...buffers,
  input('blocks', 'u32'),
  input('hyper', 'vec4f'),
  ...(maxNorm === null ? [] : [input('norm')]),
];

const costOf = ({ flopsPerElement, buffers }: FlatUpdateSpec, blocks: number): Cost => ({
  flops: flopsPerElement * blocks * BLOCK_ELEMENTS,
  bytes: blocks * BLOCK_ELEMENTS * 4 * traffic(buffers),
});

/** WGSL: the factor of the gradient, and the update of vector `i`. */
const coefficientWgsl = ({ maxNorm, scaled = false }: FlatUpdateSpec): string =>
  maxNorm === null ? 'let coefficient = 1.0;' : clipWgsl(scaled);
const updateWgsl = ({ body }: FlatUpdateSpec): string => /* wgsl */ `
    let block = blocks[i / ${BLOCK_VECTORS}u];
    let setting = hyper[block >> 8u];
    let g = without_padding(gradients[i], i, block) * (setting.w * coefficient);
    ${body}`;

/** The variant `plain`: one invocation per vector. */
const onePerInvocation = (spec: FlatUpdateSpec, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: `${spec.name}/plain`,
      bindings: bindingsOf(spec),
      uniforms: { ...(spec.maxNorm === null ? {} : { max_norm: f32(spec.maxNorm) }), ...spec.uniforms },
      functions: withoutPaddingWgsl,
      count: spec.n / 4,
      body: `${coefficientWgsl(spec)}${updateWgsl(spec)}`,
      cost: costOf(spec, spec.n / BLOCK_ELEMENTS),
    },
    device,
  ),
];

/** An invocation updates several vectors, a workgroup apart. */
function strided(spec: FlatUpdateSpec, device: DeviceProfile): Launch[] {
  const clip = spec.maxNorm !== null;
  const bytesPerBlock = Object.fromEntries(spec.buffers.map(({ name }) => [name, BLOCK_ELEMENTS * 4]));
  const blocks = spec.n / BLOCK_ELEMENTS;
  return splitRows(blocks, { ...bytesPerBlock, blocks: 4 }, device, spec.name).map(({ rows, ranges }) =>
    launch({
      name: spec.name,
      bindings: bindingsOf(spec),
      uniforms: {
        vectors: u32(rows * BLOCK_VECTORS),
        ...(clip ? { max_norm: f32(spec.maxNorm) } : {}),
        ...spec.uniforms,
      },
      ranges,
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${withoutPaddingWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  ${coefficientWgsl(spec)}
  let start = linear_workgroup(workgroup, workgroups) * ${WORKGROUP * VECTORS}u;
  // The number of rounds is left open: software adapters unroll a constant one, and take five times as long to compile.
  let end = min(start + ${WORKGROUP * VECTORS}u, params.vectors);
  for (var i = start + lane; i < end; i += ${WORKGROUP}u) {${updateWgsl(spec)}
  }
}`,
      grid: foldGrid(ceilDiv(rows * BLOCK_VECTORS, WORKGROUP * VECTORS), device),
      cost: costOf(spec, rows),
    }),
  );
}

const clipWgsl = (scaled: boolean): string => /* wgsl */ `
  if (norm[1] > 0) { return; }
  let coefficient = select(1.0, min(1.0, params.max_norm / (norm[0] + 1e-6)), params.max_norm > 0)${scaled ? ' * norm[2]' : ''};`;

/** Times that each element crosses the memory bus: what is updated in place does so twice. */
const traffic = (buffers: readonly Binding[]): number =>
  buffers.reduce((sum, { access }) => sum + (access === 'read' ? 1 : 2), 0);
