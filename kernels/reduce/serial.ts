import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { f32, input, launch, output, splitRows, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { BLOCK, monoids, WORKGROUP } from './stage.ts';
import type { Access, Ends, ReduceProblem, Stage } from './stage.ts';

/** How one invocation reads and writes. */
interface Serial {
  /** Elements of its row in one load. */
  readonly load: 1 | 4;
  /** Neighbouring results. */
  readonly results: 1 | 4;
}

/** One invocation reduces one segment of one result, or of four. */
const serial = (name: string, fits: Access['fits'], { load, results }: Serial): Access => ({
  name,
  fits,
  load: () => load,
  results,
  lanes: () => 1,
  launches: (...args) => serialStage(name, { load, results }, ...args),
});

/** One invocation four neighbouring results. */
export const columns = serial('columns', ({ inner }) => inner > 1 && inner % 4 === 0, { load: 1, results: 4 });
/** One invocation per result, its elements neighbours, four a load. */
export const along = serial('along', ({ inner, reduce }) => inner === 1 && reduce % 4 === 0, { load: 4, results: 1 });
/** One invocation per result, its elements `inner` apart. */
export const strided = serial('strided', () => true, { load: 1, results: 1 });

function serialStage(
  name: string,
  { load: width, results: neighbours }: Serial,
  op: ReduceProblem['op'],
  stage: Stage,
  { from, to, f16 }: Ends,
  divisor: number,
  device: DeviceProfile,
): Launch[] {
  const monoid = monoids[op];
  const { outer, reduce: length, inner, segment, segments } = stage;
  const vectorOut = neighbours === 4;
  const vectorIn = vectorOut || width === 4;
  // A binding too large for the device: launches over runs of outer, or of segments where there is one outer.
  const bySegments = outer === 1;
  const perRow = bySegments ? inner : segments * inner;
  const whole = outer * segments * inner * 4 <= device.maxBindingSize;
  const bytes = {
    [from]: (bySegments ? segment : length) * inner * (f16 ? 2 : 4),
    ...(whole ? {} : { [to]: perRow * 4 }),
  };
  const columnCount = inner / neighbours;
  const value = monoid.load(`${from}[at + r * params.columns]`, vectorIn);
  const accumulator = vectorIn ? monoid.vector : monoid.scalar;
  const total =
    width === 4
      ? monoid.combine(`(${monoid.combine('total.x', 'total.y')})`, `(${monoid.combine('total.z', 'total.w')})`)
      : 'total';
  const launches = splitRows(bySegments ? segments : outer, bytes, device, `${op}.reduce`).map(
    ({ start, rows, ranges }) => {
      const chunkLength = bySegments ? Math.min(length - start * segment, rows * segment) : length;
      const chunkSegments = bySegments ? rows : segments;
      const results = (bySegments ? 1 : rows) * chunkSegments * columnCount;
      const elements = (bySegments ? 1 : rows) * chunkLength * inner;
      return launch({
        name: `${op}.reduce/${name}`,
        bindings: [
          input(from, vectorIn ? monoid.vector : monoid.scalar),
          output(to, vectorOut ? monoid.vector : monoid.scalar),
        ],
        uniforms: {
          results: u32(results),
          first_result: u32(whole ? (start * perRow) / neighbours : 0),
          columns: u32(columnCount),
          length: u32(chunkLength / width),
          segment: u32(segment / width),
          segments: u32(chunkSegments),
          divisor: f32(divisor),
        },
        ranges: clipped(ranges, from, outer * length * inner * (f16 ? 2 : 4)),
        wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${monoid.functions}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let result = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  if (result >= params.results) { return; }
  // result = (o, segment, column)
  let row = result / params.columns;
  let first = (row % params.segments) * params.segment;
  let count = min(params.segment, params.length - first);
  let at = (row / params.segments * params.length + first) * params.columns + result % params.columns;
  var total = ${accumulator}(${monoid.identity});
  for (var block = 0u; block < count; block += ${BLOCK}u) {
    var part = ${accumulator}(${monoid.identity});
    let end = min(block + ${BLOCK}u, count);
    for (var r = block; r < end; r++) {
      part = ${monoid.combine('part', value)};
    }
    total = ${monoid.combine('total', 'part')};
  }
  ${to}[result + params.first_result] = ${monoid.store(total, vectorOut)};
}`,
        grid: foldGrid(ceilDiv(results, WORKGROUP), device),
        cost: { flops: elements, bytes: (f16 ? 2 : 4) * elements + 4 * results * neighbours },
      });
    },
  );
  return inF16(launches, f16 ? [from] : undefined);
}

/** A run of segments may end with a shorter one: its range ends with the tensor. */
function clipped(ranges: Launch['ranges'], name: string, bytes: number): Launch['ranges'] {
  const range = ranges[name];
  if (!range) return ranges;
  const end = Math.min(range.offset + range.size, ceilDiv(bytes, 16) * 16);
  return { ...ranges, [name]: { offset: range.offset, size: end - range.offset } };
}
