import type { DeviceProfile } from '../lib/device.ts';
import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import { f32, input, output, require, splitRows, u32 } from '../lib/kernel.ts';
import type { Binding, Cost, RowChunk, Uniforms } from '../lib/kernel.ts';

/** Sizes and storage of an attention: see index.ts. */
export interface AttentionProblem {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  /** Width d of a head. */
  readonly width: number;
  /** qkv, y and their gradients are f16 in memory; stats and delta are f32 as ever. */
  readonly f16?: boolean;
}

/** The forward pass, and the two kernels of the backward pass. */
export type AttentionPart = 'forward' | 'query' | 'keyValue';

/** What is the same in all variants of a part: its name, what it binds, and its products of N x N x d a head. */
export interface PartSpec {
  readonly name: string;
  /** Bindings of vectors or scalars like qkv. */
  readonly bindings: (element: string) => Binding[];
  readonly products: number;
}

const givenKeys = (element: string): Binding[] => [
  input('qkv', element),
  input('dy', element),
  input('stats', 'vec2f'),
];

/** `key` and `value` are `keyValue` in two kernels. */
export const PARTS = {
  forward: {
    name: 'forward',
    bindings: (element) => [input('qkv', element), output('y', element), output('stats', 'vec2f')],
    products: 2,
  },
  query: {
    name: 'query_gradient',
    bindings: (element) => [
      input('qkv', element),
      input('y', element),
      input('dy', element),
      input('stats', 'vec2f'),
      output('dqkv', element),
      output('delta'),
    ],
    products: 3,
  },
  keyValue: {
    name: 'key_value_gradient',
    bindings: (element) => [...givenKeys(element), input('delta'), output('dqkv', element)],
    products: 4,
  },
  value: {
    name: 'value_gradient',
    bindings: (element) => [...givenKeys(element), output('dqkv', element)],
    products: 2,
  },
  key: {
    name: 'key_gradient',
    bindings: (element) => [...givenKeys(element), input('delta'), output('dqkv', element)],
    products: 3,
  },
} satisfies Record<string, PartSpec>;

/** exp(60) is 1e26: sums of it stay finite, and what it hides is below the last bit. */
export const HEADROOM = 60;
/** exp(10) is 22026: within f16, which ends at 65504. */
export const F16_HEADROOM = 10;

/** The problem itself, if it is one. */
export function checkAttention(problem: AttentionProblem): AttentionProblem {
  const { batch, tokens, heads, width } = problem;
  const sizes = [batch, tokens, heads, width];
  require(sizes.every((size) => Number.isInteger(size) && size > 0), 'attention', 'positive sizes', sizes);
  return problem;
}

/** Elements loaded and stored together: four where a head is a whole number of vectors. */
export interface HeadVectors {
  readonly lanes: 1 | 4;
  readonly element: 'f32' | 'vec4f';
  /** Vectors (or scalars) of a head. */
  readonly parts: number;
}

export const headVectors = ({ width }: AttentionProblem): HeadVectors =>
  width % 4 === 0 ? { lanes: 4, element: 'vec4f', parts: width / 4 } : { lanes: 1, element: 'f32', parts: width };

/** Sizes in vectors of a head; a workgroup takes `rows` rows of one head of one image. */
export function attentionUniforms(problem: AttentionProblem, images: number, rows: number): Uniforms {
  const { tokens, heads, width } = problem;
  const tiles = ceilDiv(tokens, rows);
  const { parts } = headVectors(problem);
  return {
    tokens: u32(tokens),
    heads: u32(heads),
    width: u32(width),
    parts: u32(parts),
    row_stride: u32(3 * heads * parts),
    tiles: u32(tiles),
    workgroups: u32(images * heads * tiles),
    scale: f32(1 / Math.sqrt(width)),
  };
}

export const attentionGrid = (
  { heads, tokens }: AttentionProblem,
  images: number,
  rows: number,
  device: DeviceProfile,
) => foldGrid(images * heads * ceilDiv(tokens, rows), device);

/** Where a workgroup works: `own(workgroup)`, with the first vectors of its head in each tensor. */
export const ownWgsl = /* wgsl */ `
${linearWorkgroupWgsl}
struct Own { tile: u32, q: u32, k: u32, v: u32, y: u32, stats: u32 }
fn own(workgroup: u32) -> Own {
  let z = workgroup / params.tiles;
  let head = z % params.heads;
  let image = z / params.heads;
  let q = image * params.tokens * params.row_stride + head * params.parts;
  let side = params.heads * params.parts;
  return Own(workgroup % params.tiles, q, q + side, q + 2 * side,
             image * params.tokens * side + head * params.parts, z * params.tokens);
}
`;

/** Runs of images that fit the device's bindings, by the names of the bindings that advance with them. */
export function imageChunks(problem: AttentionProblem, names: readonly string[], device: DeviceProfile): RowChunk[] {
  const { batch, tokens, heads, width, f16 } = problem;
  const rows = (f16 ? 2 : 4) * tokens * heads * width;
  const bytes: Record<string, number> = {
    qkv: 3 * rows,
    dqkv: 3 * rows,
    y: rows,
    dy: rows,
    stats: 8 * tokens * heads,
    delta: 4 * tokens * heads,
  };
  const own = Object.fromEntries(names.map((name) => [name, bytes[name]]));
  return splitRows(batch, own, device, 'attention');
}

/** Cost of `products` matrix products of N x N x d a head. */
export function attentionCost({ tokens, heads, width, f16 }: AttentionProblem, images: number, products: number): Cost {
  return {
    flops: images * heads * (2 * products * width + 6) * tokens * tokens,
    bytes: (f16 ? 2 : 4) * images * heads * tokens * width * (products + 2),
  };
}
