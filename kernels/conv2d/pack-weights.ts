import { ceilDiv } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { bind, input, launch, output, require, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { weightUniforms } from './image-product.ts';
import type { ConvProduct } from './image-product.ts';

/** Weights as matrices, one a group: rows of taps, each of them the source channels and zeros to whole blocks. */
export interface PackedWeights {
  /** Of the tensor. */
  readonly name: string;
  readonly launches: readonly Launch[];
  /** Elements from one group, and from one row, to the next. */
  readonly group: number;
  readonly ld: number;
}

const LANES = 32;

/** Copies the weights that a `product` of this name meets to packed [groups, rows, taps, depth]. Bindings weight and `name`. */
export function packWeights(p: ConvProduct, product: string, block: number, device: DeviceProfile): PackedWeights {
  const taps = p.tapsY.count * p.tapsX.count;
  const depth = ceilDiv(p.depth, block) * block;
  const ld = taps * depth;
  const rows = p.groups * p.rows;
  const name = `packed_${p.phase.y}_${p.phase.x}`;
  const isF16 = p.f16.includes('weight');
  const limit = device.maxWorkgroupsPerDimension;
  require(rows <= limit && taps <= limit, `${p.name}/pack_weights`, `at most ${limit} channels, and taps`, {
    rows,
    taps,
  });
  const own = launch({
    name: `${p.name}/${product}.pack`,
    bindings: [input('weight'), output('packed', 'vec4f')],
    uniforms: {
      rows: u32(p.rows),
      depth: u32(p.depth),
      vectors: u32(depth / 4),
      row_vectors: u32(ld / 4),
      taps_x: u32(p.tapsX.count),
      ...weightUniforms(p),
    },
    wgsl: /* wgsl */ `
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let vector = workgroup.x * ${LANES}u + lane;
  if (vector >= params.vectors) { return; }
  // The same for all lanes.
  let tap = params.first_tap + (workgroup.y / params.taps_x) * params.tap_y + (workgroup.y % params.taps_x) * params.tap_x;
  let row = (workgroup.z / params.rows) * params.weight_group + (workgroup.z % params.rows) * params.weight_row;
  var values = vec4f();
  for (var e = 0u; e < 4u; e++) {
    if (4u * vector + e < params.depth) { values[e] = weight[row + tap + (4u * vector + e) * params.weight_depth]; }
  }
  packed[workgroup.z * params.row_vectors + workgroup.y * params.vectors + vector] = values;
}`,
    grid: [ceilDiv(depth / 4, LANES), taps, rows],
    cost: { flops: 0, bytes: (isF16 ? 2 : 4) * rows * taps * (p.depth + depth) },
  });
  const workspace = { [name]: { elements: rows * ld, dtype: isF16 ? ('f16' as const) : ('f32' as const) } };
  return {
    name,
    launches: bind(inF16([own], isF16 ? ['weight', 'packed'] : []), { packed: name }, workspace),
    group: p.rows * ld,
    ld,
  };
}
