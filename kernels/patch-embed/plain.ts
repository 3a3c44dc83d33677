import type { DeviceProfile } from '../lib/device.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';
import { patchEmbedCost } from './problem.ts';
import type { PatchEmbedProblem } from './problem.ts';

/* One invocation an element of what is written: of y, of dw, or of dx. */

const sizesOf = ({ batch, channels, gridHeight, gridWidth, patch, width }: PatchEmbedProblem) => ({
  batch: u32(batch),
  channels: u32(channels),
  grid_height: u32(gridHeight),
  grid_width: u32(gridWidth),
  side: u32(patch),
  width: u32(width),
});

const functions = /* wgsl */ `
/** Index of pixel (row, column) of patch n in channel c of the image. */
fn pixel_of(n: u32, c: u32, row: u32, column: u32) -> u32 {
  let gx = n % params.grid_width;
  let gy = n / params.grid_width % params.grid_height;
  let image = n / params.grid_width / params.grid_height;
  let line = ((image * params.channels + c) * params.grid_height + gy) * params.side + row;
  return (line * params.grid_width + gx) * params.side + column;
}`;

const patchesOf = ({ batch, gridHeight, gridWidth }: PatchEmbedProblem): number => batch * gridHeight * gridWidth;
const pixelsOf = ({ channels, patch }: PatchEmbedProblem): number => channels * patch ** 2;

export const forwardPlain = (problem: PatchEmbedProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'patch_embed.forward/plain',
      bindings: [input('x'), input('w'), input('bias'), output('y')],
      uniforms: sizesOf(problem),
      functions,
      count: patchesOf(problem) * problem.width,
      body: /* wgsl */ `
  let d = i % params.width;
  let n = i / params.width;
  var sum = bias[d];
  for (var c = 0u; c < params.channels; c++) {
    for (var row = 0u; row < params.side; row++) {
      for (var column = 0u; column < params.side; column++) {
        sum += w[((d * params.channels + c) * params.side + row) * params.side + column] * x[pixel_of(n, c, row, column)];
      }
    }
  }
  y[i] = sum;`,
      cost: patchEmbedCost(problem, 'forward'),
    },
    device,
  ),
];

export const weightGradientPlain = (problem: PatchEmbedProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'patch_embed.weight/plain',
      bindings: [input('x'), input('dy'), output('dw')],
      uniforms: sizesOf(problem),
      functions,
      count: problem.width * pixelsOf(problem),
      body: /* wgsl */ `
  let column = i % params.side;
  let row = i / params.side % params.side;
  let c = i / params.side / params.side % params.channels;
  let d = i / params.side / params.side / params.channels;
  var sum = 0.0;
  for (var image = 0u; image < params.batch; image++) {
    // Sums of images are added up, not single products: rounding errors grow with the number of additions in a row.
    var part = 0.0;
    for (var patch_index = 0u; patch_index < params.grid_height * params.grid_width; patch_index++) {
      let n = image * params.grid_height * params.grid_width + patch_index;
      part += dy[n * params.width + d] * x[pixel_of(n, c, row, column)];
    }
    sum += part;
  }
  dw[i] = sum;`,
      cost: patchEmbedCost(problem, 'weight'),
    },
    device,
  ),
];

export const imageGradientPlain = (problem: PatchEmbedProblem, device: DeviceProfile): Launch[] => [
  perInvocation(
    {
      name: 'patch_embed.image/plain',
      bindings: [input('w'), input('dy'), output('dx')],
      uniforms: sizesOf(problem),
      functions,
      count: patchesOf(problem) * pixelsOf(problem),
      body: /* wgsl */ `
  let column = i % params.side;
  let row = i / params.side % params.side;
  let c = i / params.side / params.side % params.channels;
  let n = i / params.side / params.side / params.channels;
  var sum = 0.0;
  for (var d = 0u; d < params.width; d++) {
    sum += dy[n * params.width + d] * w[((d * params.channels + c) * params.side + row) * params.side + column];
  }
  dx[pixel_of(n, c, row, column)] = sum;`,
      cost: patchEmbedCost(problem, 'image'),
    },
    device,
  ),
];
