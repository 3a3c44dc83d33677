import { ceilDiv, CPU_LANES } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { input, launch, output, splitRows, u32 } from '../lib/kernel.ts';
import type { Binding, Launch } from '../lib/kernel.ts';
import type { LayerNormBackwardProblem } from './problem.ts';

/*
 * Gradients of layer norm's weight and bias: sums over the rows of dy h and of dy, with h = (x - mean) rstd
 * (rows.ts). An invocation owns four columns (one, where the width is not a multiple of four) and a block of rows;
 * the sums of the blocks are added in a second dispatch. Where there is one block, the first dispatch writes the
 * gradients. Within a block, runs of 32 rows are summed before they are added, for accuracy. The order is fixed, so the
 * result is the same to the bit every time. Gradients are written.
 */

const RUN = 32;
const WORKGROUP = 64;

interface Blocks {
  /** Rows of a block. */
  readonly rows: number;
  /** Blocks of each chunk of rows that fits the device's bindings. */
  readonly perChunk: readonly number[];
  readonly count: number;
}

const chunksOf = ({ rows, width, f16 }: LayerNormBackwardProblem, device: DeviceProfile) =>
  splitRows(rows, { x: width * 4, dy: width * (f16 ? 2 : 4), stats: 8 }, device, 'layer_norm.columns');

function blocksOf(problem: LayerNormBackwardProblem, device: DeviceProfile): Blocks {
  // A processor has few cores: the columns alone keep them busy. A GPU wants tens of thousands of invocations.
  const rows = device.cpu ? problem.rows : Math.max(RUN, ceilDiv(problem.rows, 256));
  const perChunk = chunksOf(problem, device).map((chunk) => ceilDiv(chunk.rows, rows));
  return { rows, perChunk, count: perChunk.reduce((a, b) => a + b, 0) };
}

/** Bindings: x, stats (vec2f), dy, dweight, dbias. */
export function columnGradients(problem: LayerNormBackwardProblem, device: DeviceProfile): Launch[] {
  const { width } = problem;
  const { vector, element, columns, workgroup } = columnsOf(width, device);
  const blocks = blocksOf(problem, device);
  const direct = blocks.count === 1;
  const sums: Binding[] = direct
    ? [output('dweight', element), output('dbias', element)]
    : [output('partials', element)];
  let firstBlock = 0;
  const launches: Launch[] = chunksOf(problem, device).map((chunk, i) => {
    const count = blocks.perChunk[i];
    const result = launch({
      name: `layer_norm.columns/rows${vector === 4 ? '4' : ''}`,
      bindings: [input('x', element), input('dy', element), input('stats', 'vec2f'), ...sums],
      ranges: chunk.ranges,
      workspace: direct ? {} : { partials: { elements: blocks.count * 2 * width } },
      uniforms: {
        rows: u32(chunk.rows),
        columns: u32(columns),
        block_rows: u32(blocks.rows),
        first_block: u32(firstBlock),
      },
      wgsl: /* wgsl */ `
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let c = workgroup.x * ${workgroup}u + lane;
  if (c >= params.columns) { return; }
  var row = workgroup.y * params.block_rows;
  let end = min(params.rows, row + params.block_rows);
  var weight_sum = ${element}(0);
  var bias_sum = ${element}(0);
  while (row < end) {
    let run_end = min(end, row + ${RUN}u);
    var weight_run = ${element}(0);
    var bias_run = ${element}(0);
    for (; row < run_end; row++) {
      let i = row * params.columns + c;
      let g = dy[i];
      bias_run += g;
      weight_run += g * ((x[i] - stats[row].x) * stats[row].y);
    }
    weight_sum += weight_run;
    bias_sum += bias_run;
  }
  ${
    direct
      ? 'dweight[c] = weight_sum; dbias[c] = bias_sum;'
      : `let block = (params.first_block + workgroup.y) * 2u * params.columns + c;
  partials[block] = weight_sum; partials[block + params.columns] = bias_sum;`
  }
}`,
      grid: [ceilDiv(columns, workgroup), count, 1],
      cost: { flops: 5 * chunk.rows * width, bytes: 8 * chunk.rows * width },
    });
    firstBlock += count;
    return result;
  });
  if (!direct) launches.push(addBlocks(blocks.count, width, device));
  return inF16(launches, problem.f16 ? ['dy'] : undefined);
}

/** How columns are shared out: an invocation takes one vector of them, or one column. */
function columnsOf(width: number, device: DeviceProfile) {
  const vector = width % 4 === 0 ? 4 : 1;
  const element = vector === 4 ? 'vec4f' : 'f32';
  return { vector, element, columns: width / vector, workgroup: device.cpu ? CPU_LANES : WORKGROUP };
}

/** On a GPU, columns of a workgroup that adds blocks: neighbours in memory; and its lanes for each. */
const [COLUMNS, LANES] = [4, 64];

/** dweight and dbias as the sums of partials [blocks, 2, width], in a fixed order. Bindings: partials, dweight, dbias. */
export function addBlocks(blocks: number, width: number, device: DeviceProfile): Launch {
  const { element, columns } = columnsOf(width, device);
  // A processor has no use for lanes that wait for each other.
  const lanes = device.cpu ? 1 : LANES;
  const side = device.cpu ? CPU_LANES : COLUMNS;
  const tree = /* wgsl */ `
  sums[local] = sum;
  for (var step = ${(side * lanes) / 2}u; step >= ${side}u; step >>= 1u) {
    workgroupBarrier();
    if (local < step) { sums[local] += sums[local + step]; }
  }
  sum = sums[local];`;
  return launch({
    name: `layer_norm.columns/blocks${lanes > 1 ? '_workgroup' : ''}`,
    bindings: [input('partials', element), output('dweight', element), output('dbias', element)],
    uniforms: { blocks: u32(blocks), columns: u32(columns) },
    wgsl: /* wgsl */ `
${lanes > 1 ? `var<workgroup> sums: array<${element}, ${side * lanes}>;` : ''}
@compute @workgroup_size(${side * lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  // Columns of dweight, and then those of dbias.
  let c = workgroup.x * ${side}u + local % ${side}u;
  let end = 2u * params.columns;
  var sum = ${element}(0);
  for (var block = local / ${side}u; block < select(0u, params.blocks, c < end); block += ${lanes}u) {
    sum += partials[block * end + c];
  }
  ${lanes > 1 ? tree : ''}
  if (local >= ${side}u || c >= end) { return; }
  if (c < params.columns) { dweight[c] = sum; } else { dbias[c - params.columns] = sum; }
}`,
    grid: [ceilDiv(2 * columns, side), 1, 1],
    cost: { flops: 2 * blocks * width, bytes: 8 * blocks * width },
  });
}
