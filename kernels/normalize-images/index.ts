/**
 * Images of bytes as the normalised planes that models see, with the boxes that random erasing fills (Zhong et al. 2017):
 *
 *     y[b, c, p] = table[c, pixels[b, p, c]]                   outside of all boxes of image b
 *                = the fill of the last box around p           inside: a value per channel, or normal noise
 *
 * pixels: bytes [batch, height, width, 3] in words; table f32 [3, 256] has the normalised value of every byte, so that y is the
 * host's to the bit; boxes u32 [batch, boxes, 16] (box.ts). Noise for element (c, y, x) of a box is draw number
 * (c height + y) width + x of its stream, by Box and Muller as on the host: the same to the rounding of f32. No gradient.
 *
 * Cost: three bytes read and three floats written a pixel. `deit kernel normalize_images` shows the kernel.
 */
import { ceilDiv } from '../lib/device.ts';
import { input, output, require, splitRows, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { normalWgsl } from '../lib/normal.ts';
import { philoxWgsl } from '../lib/philox.ts';
import { perInvocation } from '../lib/plain.ts';
import { BOX_WORDS, FILL } from './box.ts';

export interface NormalizeImagesProblem {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  /** Boxes an image at most. */
  readonly boxes: number;
}

/** One invocation per pixel. Bindings pixels (u32), table, boxes (u32; unused without boxes), y. */
export const normalizeImages: Kernel<NormalizeImagesProblem> = (problem, device) => {
  const { batch, height, width, boxes } = problem;
  require(batch >= 1 && height >= 1 && width >= 1 && boxes >= 0, 'normalizeImages', 'positive sizes', problem);
  const plane = height * width;
  // Bytes of several images share words, so they are bound whole; only the result, four times as large, is split.
  return splitRows(batch, { y: 12 * plane }, device, 'normalizeImages').map(({ start, rows, ranges }) =>
    perInvocation(
      {
        name: 'normalize_images',
        bindings: [input('pixels', 'u32'), input('table'), input('boxes', 'u32'), output('y')],
        uniforms: {
          first: u32(start),
          words: u32(ceilDiv(3 * batch * plane, 4)),
          plane: u32(plane),
          width: u32(width),
          boxes: u32(boxes),
        },
        ranges,
        unused: boxes === 0 ? ['boxes'] : [],
        functions: /* wgsl */ `
${philoxWgsl}
${normalWgsl}
/** Draw number n of the stream of the box at word \`at\`; a draw takes two words. */
fn noise(at: u32, n: u32) -> f32 {
  let key = vec2u(boxes[at + 5u], boxes[at + 6u]);
  let word = boxes[at + 9u] + 2u * n;
  let words = philox(vec4u(word / 4u, boxes[at + 7u], boxes[at + 8u], 0u), key);
  switch word % 4u {
    case 0u: { return normal(words.x, words.y); }
    case 1u: { return normal(words.y, words.z); }
    case 2u: { return normal(words.z, words.w); }
    default: {
      let next = philox(vec4u(word / 4u + 1u, boxes[at + 7u], boxes[at + 8u], 0u), key);
      return normal(words.w, next.x);
    }
  }
}
fn filled(at: u32, row: u32, column: u32) -> vec3f {
  if (boxes[at + 4u] == ${FILL.colour}u) {
    return bitcast<vec3f>(vec3u(boxes[at + 10u], boxes[at + 11u], boxes[at + 12u]));
  }
  let width = boxes[at + 3u] - boxes[at + 1u];
  let area = width * (boxes[at + 2u] - boxes[at]);
  let n = (row - boxes[at]) * width + column - boxes[at + 1u];
  return vec3f(noise(at, n), noise(at, n + area), noise(at, n + 2u * area));
}
`,
        count: rows * plane,
        body: /* wgsl */ `
  let image = params.first + i / params.plane;
  let within = i % params.plane;
  // The three bytes of a pixel lie in one word or in two.
  let byte = 3u * (image * params.plane + within);
  let shift = 8u * (byte % 4u);
  let low = pixels[byte / 4u] >> shift;
  let high = pixels[min(byte / 4u + 1u, params.words - 1u)] << ((32u - shift) % 32u);
  let levels = select(low | high, low, shift == 0u);
  var colour = vec3f(table[levels & 255u], table[256u + ((levels >> 8u) & 255u)], table[512u + ((levels >> 16u) & 255u)]);
  let row = within / params.width;
  let column = within % params.width;
  for (var b = params.boxes; b > 0u; b--) {
    let at = ${BOX_WORDS}u * (image * params.boxes + b - 1u);
    if (boxes[at + 4u] == ${FILL.none}u || row < boxes[at] || column < boxes[at + 1u]) { continue; }
    if (row >= boxes[at + 2u] || column >= boxes[at + 3u]) { continue; }
    colour = filled(at, row, column);
    break;
  }
  let place = (i / params.plane) * 3u * params.plane + within;
  y[place] = colour.x;
  y[place + params.plane] = colour.y;
  y[place + 2u * params.plane] = colour.z;`,
        cost: { flops: 0, bytes: 15 * rows * plane },
      },
      device,
    ),
  );
};
