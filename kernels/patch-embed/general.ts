import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { bind, input, launch, output, u32 } from '../lib/kernel.ts';
import type { Launch, Uniforms } from '../lib/kernel.ts';
import { reduce } from '../reduce/index.ts';
import { patchEmbedCost } from './problem.ts';
import type { PatchEmbedProblem } from './problem.ts';

/* Patch embedding on any device: the formulas of index.ts by invocations with registers of their own. */

const WORKGROUP = 64;
/** Patches an invocation handles: each weight that it loads serves all of them. */
const PATCHES = 8;
/** Output features an invocation of the weight gradient handles. */
const FEATURES = 8;
/** Invocations that keep a device busy; the sum over patches is split until there are about as many. */
const PARALLEL = 16384;

interface Vectors {
  /** Elements loaded together. */
  readonly lanes: 1 | 4;
  readonly element: 'f32' | 'vec4f';
}

const vectorsOf = ({ patch }: PatchEmbedProblem): Vectors =>
  patch % 4 === 0 ? { lanes: 4, element: 'vec4f' } : { lanes: 1, element: 'f32' };

/** Sizes in vectors, and the WGSL that finds pixels with them. */
function sizes(problem: PatchEmbedProblem, { lanes }: Vectors): Uniforms {
  const { batch, channels, gridHeight, gridWidth, patch, width } = problem;
  return {
    patches: u32(batch * gridHeight * gridWidth),
    grid_height: u32(gridHeight),
    grid_width: u32(gridWidth),
    side: u32(patch),
    columns: u32(patch / lanes),
    channels: u32(channels),
    width: u32(width),
  };
}

const pixelWgsl = /* wgsl */ `
/** Vector index of the first pixel of patch n in channel 0. */
fn patch_start(n: u32) -> u32 {
  let per_image = params.grid_height * params.grid_width;
  let image = n / per_image;
  let gy = (n % per_image) / params.grid_width;
  let gx = n % params.grid_width;
  let row = image * params.channels * params.grid_height * params.side + gy * params.side;
  return row * params.grid_width * params.columns + gx * params.columns;
}
`;

const invocation = /* wgsl */ `@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32`;

/** Lanes own features, an invocation PATCHES patches: pixels are the same for all lanes, weights serve all patches. */
export function forwardGeneral(problem: PatchEmbedProblem, device: DeviceProfile): Launch[] {
  const vectors = vectorsOf(problem);
  const { element, lanes } = vectors;
  const product = lanes === 4 ? 'dot(pixel, weight)' : 'pixel * weight';
  const groups = ceilDiv(problem.batch * problem.gridHeight * problem.gridWidth, PATCHES);
  return [
    launch({
      name: `patch_embed.forward/vec${lanes}`,
      bindings: [input('x', element), input('w', element), input('bias'), output('y')],
      uniforms: sizes(problem, vectors),
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${pixelWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(${invocation}) {
  let i = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  let feature = i % params.width;
  let first = i / params.width * ${PATCHES}u;
  if (first >= params.patches) { return; }
  var start: array<u32, ${PATCHES}>;
  var sum: array<f32, ${PATCHES}>;
  for (var p = 0u; p < ${PATCHES}u; p++) { start[p] = patch_start(min(first + p, params.patches - 1u)); }
  let stride = params.grid_width * params.columns;
  var k = feature * params.channels * params.side * params.columns;
  for (var row = 0u; row < params.channels * params.side; row++) {
    // Rows of a channel follow each other in the image only within the patch.
    let channel = row / params.side;
    let down = channel * params.grid_height * params.side + row % params.side;
    for (var column = 0u; column < params.columns; column++) {
      let weight = w[k];
      k++;
      let at = down * stride + column;
      for (var p = 0u; p < ${PATCHES}u; p++) {
        let pixel = x[start[p] + at];
        sum[p] += ${product};
      }
    }
  }
  for (var p = 0u; p < ${PATCHES}u; p++) {
    if (first + p < params.patches) { y[(first + p) * params.width + feature] = sum[p] + bias[feature]; }
  }
}`,
      grid: foldGrid(ceilDiv(groups * problem.width, WORKGROUP), device),
      cost: patchEmbedCost(problem, 'forward'),
    }),
  ];
}

/** Parts that the sum over patches is split into for the weight gradient, so that every lane of the device has work. */
function weightGradientParts(problem: PatchEmbedProblem, device: DeviceProfile): number {
  const { channels, patch, width, batch, gridHeight, gridWidth } = problem;
  const own = ceilDiv(width, FEATURES) * ((channels * patch * patch) / vectorsOf(problem).lanes);
  const wanted = device.cpu ? 1 : ceilDiv(PARALLEL, own);
  return Math.max(1, Math.min(wanted, ceilDiv(batch * gridHeight * gridWidth, 64)));
}

/**
 * dw as the sum of partials[part, d, c, dy, dx] over the parts. Lanes own pixels of a patch, an invocation FEATURES
 * features: gradients are the same for all lanes, each pixel serves all features.
 */
export function weightGradientGeneral(problem: PatchEmbedProblem, device: DeviceProfile): Launch[] {
  const vectors = vectorsOf(problem);
  const { element, lanes } = vectors;
  const parts = weightGradientParts(problem, device);
  const { channels, patch, width, batch, gridHeight, gridWidth } = problem;
  const columns = (channels * patch * patch) / lanes;
  const features = ceilDiv(width, FEATURES);
  const sums = launch({
    name: `patch_embed.weight/vec${lanes}`,
    bindings: [input('x', element), input('dy'), output('partials', element)],
    uniforms: {
      ...sizes(problem, vectors),
      next_row: u32((patch - 1) * gridWidth * (patch / lanes)),
      next_image: u32((channels - 1) * gridHeight * patch * gridWidth * (patch / lanes)),
      per_part: u32(ceilDiv(batch * gridHeight * gridWidth, parts)),
      parts: u32(parts),
    },
    wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${pixelWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(${invocation}) {
  let i = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  let depth = params.channels * params.side * params.columns;
  let groups = (params.width + ${FEATURES - 1}u) / ${FEATURES}u;
  let k = i % depth;
  let feature = i / depth % groups * ${FEATURES}u;
  let part = i / (depth * groups);
  if (part >= params.parts) { return; }
  let row = k / params.columns;
  let down = row / params.side * params.grid_height * params.side + row % params.side;
  let at = down * params.grid_width * params.columns + k % params.columns;
  var sum: array<${element}, ${FEATURES}>;
  let first = part * params.per_part;
  let end = min(first + params.per_part, params.patches);
  var start = patch_start(first);
  var gx = first % params.grid_width;
  var gy = first / params.grid_width % params.grid_height;
  for (var n = first; n < end; n++) {
    let pixel = x[start + at];
    for (var f = 0u; f < ${FEATURES}u; f++) {
      sum[f] += dy[n * params.width + min(feature + f, params.width - 1u)] * pixel;
    }
    // To the next patch: past a row of patches begin others further down, past an image its other channels.
    let row_ends = gx + 1u == params.grid_width;
    let image_ends = row_ends && gy + 1u == params.grid_height;
    start += params.columns + select(0u, params.next_row, row_ends) + select(0u, params.next_image, image_ends);
    gx = select(gx + 1u, 0u, row_ends);
    gy = select(select(gy, gy + 1u, row_ends), 0u, image_ends);
  }
  for (var f = 0u; f < ${FEATURES}u; f++) {
    if (feature + f < params.width) { partials[(part * params.width + feature + f) * depth + k] = sum[f]; }
  }
}`,
    grid: foldGrid(ceilDiv(columns * features * parts, WORKGROUP), device),
    cost: patchEmbedCost(problem, 'weight'),
  });
  if (parts === 1) return bind([sums], { partials: 'dw' });
  const elements = width * channels * patch * patch;
  return [
    ...bind([sums], {}, { partials: { elements: parts * elements } }),
    ...bind(reduce({ op: 'sum', outer: 1, reduce: parts, inner: elements }, device), { x: 'partials', y: 'dw' }),
  ];
}

/** The gradient of the image: lanes own pixels of a patch, an invocation PATCHES patches. */
export function imageGradientGeneral(problem: PatchEmbedProblem, device: DeviceProfile): Launch[] {
  const vectors = vectorsOf(problem);
  const { element, lanes } = vectors;
  const { channels, patch, batch, gridHeight, gridWidth } = problem;
  const columns = (channels * patch * patch) / lanes;
  return [
    launch({
      name: `patch_embed.image/vec${lanes}`,
      bindings: [input('w', element), input('dy'), output('dx', element)],
      uniforms: sizes(problem, vectors),
      wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
${pixelWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(${invocation}) {
  let i = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  let depth = params.channels * params.side * params.columns;
  let k = i % depth;
  let first = i / depth * ${PATCHES}u;
  if (first >= params.patches) { return; }
  let row = k / params.columns;
  let down = row / params.side * params.grid_height * params.side + row % params.side;
  let at = down * params.grid_width * params.columns + k % params.columns;
  var sum: array<${element}, ${PATCHES}>;
  for (var d = 0u; d < params.width; d++) {
    let weight = w[d * depth + k];
    for (var p = 0u; p < ${PATCHES}u; p++) {
      sum[p] += dy[min(first + p, params.patches - 1u) * params.width + d] * weight;
    }
  }
  for (var p = 0u; p < ${PATCHES}u; p++) {
    if (first + p < params.patches) { dx[patch_start(first + p) + at] = sum[p]; }
  }
}`,
      grid: foldGrid(ceilDiv(columns * ceilDiv(batch * gridHeight * gridWidth, PATCHES), WORKGROUP), device),
      cost: patchEmbedCost(problem, 'image'),
    }),
  ];
}
