/**
 * y[b, n, m] = x[b, m, n] for m and n divisible by 4: the special case of `stridedLoad` that reads and writes whole vectors.
 * An invocation turns a 4 x 4 block in registers; a workgroup of 8 x 8 invocations covers a 32 x 32 tile, so that its
 * reads and its writes are both runs of 128 bytes.
 */
import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, splitRows, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';

const TILE = 32;

/**
 * The launches, or null if the dimensions (merged) are not such a transposition. Bindings x, y. Elements are words of 32 bits,
 * or f16.
 */
export function transposeInner(
  problem: { dims: readonly { size: number; stride: number }[]; offset: number },
  device: DeviceProfile,
  element: 'u32' | 'f16' = 'u32',
): Launch[] | null {
  const { dims, offset } = problem;
  if (offset !== 0 || dims.length < 2 || dims.length > 3) return null;
  const [outer, inner] = dims.slice(-2);
  const [n, m] = [outer.size, inner.size];
  const batch = dims.length === 3 ? dims[0] : { size: 1, stride: m * n };
  if (outer.stride !== 1 || inner.stride !== n || batch.stride !== m * n || m % 4 !== 0 || n % 4 !== 0) return null;
  const bytes = element === 'f16' ? 2 : 4;
  const vector = element === 'f16' ? 'vec4h' : 'vec4u';
  return splitRows(batch.size, { x: m * n * bytes, y: m * n * bytes }, device, 'strided_load/transpose').map(
    ({ rows, ranges }) => {
      const tiles = [rows, ceilDiv(m, TILE), ceilDiv(n, TILE)];
      const groups = tiles[0] * tiles[1] * tiles[2];
      return launch({
        name: element === 'f16' ? 'strided_load/transpose_f16' : 'strided_load/transpose',
        bindings: [input('x', vector), output('y', vector)],
        enables: element === 'f16' ? ['f16'] : [],
        uniforms: {
          m: u32(m / 4),
          n: u32(n / 4),
          tiles_m: u32(tiles[1]),
          tiles_n: u32(tiles[2]),
          groups: u32(groups),
        },
        ranges,
        wgsl: wgsl(vector),
        grid: foldGrid(groups, device),
        cost: { flops: 0, bytes: 2 * bytes * rows * m * n },
      });
    },
  );
}

const wgsl = (vector: string): string => /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let group = linear_workgroup(workgroup, workgroups);
  if (group >= params.groups) { return; }
  let tile = group / params.tiles_n;
  let m = tile % params.tiles_m * 8u + lane % 8u;
  let n = group % params.tiles_n * 8u + lane / 8u;
  if (m >= params.m || n >= params.n) { return; }
  let matrix = tile / params.tiles_m * (4u * params.m * params.n);
  let source = matrix + 4u * m * params.n + n;
  let a = x[source];
  let b = x[source + params.n];
  let c = x[source + 2u * params.n];
  let d = x[source + 3u * params.n];
  let destination = matrix + 4u * n * params.m + m;
  y[destination] = ${vector}(a.x, b.x, c.x, d.x);
  y[destination + params.m] = ${vector}(a.y, b.y, c.y, d.y);
  y[destination + 2u * params.m] = ${vector}(a.z, b.z, c.z, d.z);
  y[destination + 3u * params.m] = ${vector}(a.w, b.w, c.w, d.w);
}`;
