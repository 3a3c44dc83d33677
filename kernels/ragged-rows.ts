import { ceilDiv, foldGrid, linearWorkgroupWgsl } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { input, launch, output, splitRows, u32 } from './kernel.ts';
import type { Cost, Launch } from './kernel.ts';
import type { RowShape } from './rows.ts';

/*
 * Rows whose width is no multiple of four, on a processor: there a vector costs no more to load than one element, but
 * such rows do not start at vectors. Two rows (if the width is even) or four do, together, so an invocation takes a group
 * of that many, one after another. A vector that holds the end of one row and the start of the next is masked when read,
 * and carried over to the next row when written, so that only whole vectors are stored and no two invocations share one.
 */

const WORKGROUP = 8;

/** Whether this way is the better one for these rows. */
export const isRagged = ({ width, inner }: RowShape, device: DeviceProfile): boolean =>
  device.cpu && inner === 1 && width % 4 !== 0 && width >= 8;

export interface RaggedRowSpec {
  name: string;
  shape: RowShape;
  inputs: readonly string[];
  output: string;
  functions?: string;
  /**
   * What is gathered over the row, in order: the neutral element, the combination of vectors `a` and `b`, and the value of
   * vector `j` as WGSL; then statements that turn the gathered vector, under the same name, into what later steps use.
   */
  gather: readonly { name: string; neutral: string; combine: string; value: string; then: string }[];
  /** The output's vector `j`. */
  value: string;
  cost: Cost;
}

export function raggedRowKernel(spec: RaggedRowSpec, device: DeviceProfile): Launch[] {
  const { outer, width } = spec.shape;
  const group = width % 2 === 0 ? 2 : 4;
  const tensors = [...spec.inputs, spec.output];
  const groups = ceilDiv(outer, group);
  const bytes = Object.fromEntries(tensors.map((name) => [name, group * width * 4]));
  const loop = (body: string) => `for (var j = first + 1u; j < last; j++) { ${body} }`;
  const gather = spec.gather.map(
    ({ name, neutral, combine, value, then }) => /* wgsl */ `
    var ${name} = vec4f(${neutral});
    { let j = first; let a = ${name}; let b = select(vec4f(${neutral}), ${value}, in_first); ${name} = ${combine}; }
    ${loop(`let a = ${name}; let b = ${value}; ${name} = ${combine};`)}
    { let j = last; let a = ${name}; let b = select(vec4f(${neutral}), ${value}, in_last); ${name} = ${combine}; }
    ${then}`,
  );
  return splitRows(groups, bytes, device, spec.name).map(({ start, rows: count, ranges }) =>
    launch({
      name: `${spec.name}/ragged${group}`,
      bindings: [...spec.inputs.map((name) => input(name, 'vec4f')), output(spec.output, 'vec4f')],
      ranges: clampRanges(ranges, outer * width * 4),
      uniforms: { rows: u32(Math.min(count * group, outer - start * group)), width: u32(width) },
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
const LOWEST = -0x1.fffffep+127f;
${spec.functions ?? ''}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let group = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  let base = group * (params.width * ${group}u / 4u);
  let element = vec4u(0u, 1u, 2u, 3u);
  var carry = vec4f(0);
  for (var r = 0u; r < ${group}u; r++) {
    let row = group * ${group}u + r;
    if (row >= params.rows) { return; }
    let start = r * params.width;
    let end = start + params.width - 1u;
    let first = base + start / 4u;
    let last = base + end / 4u;
    let in_first = element >= vec4u(start % 4u);
    let in_last = element <= vec4u(end % 4u);
    ${gather.join('')}
    { let j = first; ${spec.output}[j] = select(carry, ${spec.value}, in_first); }
    ${loop(`${spec.output}[j] = ${spec.value};`)}
    { let j = last; carry = ${spec.value}; }
    if (end % 4u == 3u || row + 1u == params.rows) { ${spec.output}[last] = carry; }
  }
}`,
      grid: foldGrid(ceilDiv(count, WORKGROUP), device),
      cost: { flops: (spec.cost.flops * count) / groups, bytes: (spec.cost.bytes * count) / groups },
    }),
  );
}

/** The last group may be cut short by the end of the tensor (and its padding to 16 bytes). */
function clampRanges(
  ranges: Readonly<Record<string, { offset: number; size: number }>>,
  bytes: number,
): Record<string, { offset: number; size: number }> {
  const end = ceilDiv(bytes, 16) * 16;
  return Object.fromEntries(
    Object.entries(ranges).map(([name, { offset, size }]) => [name, { offset, size: Math.min(size, end - offset) }]),
  );
}
