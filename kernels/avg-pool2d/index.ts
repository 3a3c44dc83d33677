/**
 * y[p, i, j] = the mean of window (i, j) of image p: the sum of its pixels, padding being zero, over the count of them,
 * padding included or not.
 *
 * Gradient, written: dx of a pixel = the sum over the windows that it lies in of dy over their count.
 *
 * Cost: each window is read once, each pixel looks into the windows that it lies in. `deit kernel avg_pool2d` shows the kernels.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, require, u32 } from '../lib/kernel.ts';
import { perElement } from '../lib/per-element.ts';
import { windowUniforms, windowWgsl } from '../lib/window.ts';
import type { WindowProblem } from '../lib/window.ts';

export interface AvgPool2dProblem extends WindowProblem {
  countIncludePad: boolean;
}

/** WGSL `count_of(window) -> f32`: what lies beyond the padding is never counted. */
const countWgsl = /* wgsl */ `${windowWgsl}
fn count_of(window: vec2u) -> f32 {
  if (params.count_include_pad == 1u) {
    let first = window * vec2u(params.stride_height, params.stride_width);
    let padded = vec2u(params.height, params.width) + 2u * vec2u(params.padding_height, params.padding_width);
    let inside = min(first + vec2u(params.kernel_height, params.kernel_width), padded) - first;
    return f32(inside.x * inside.y);
  }
  let pixels = pixels_of(window);
  return f32((pixels.y - pixels.x) * (pixels.w - pixels.z));
}
`;

const uniformsOf = (problem: AvgPool2dProblem) => ({
  ...windowUniforms(problem),
  count_include_pad: u32(problem.countIncludePad ? 1 : 0),
});

/** Bindings x, y. */
export const avgPool2d = pointwise<AvgPool2dProblem>('avgPool2d.forward', (problem) => {
  const { planes, height, width, kernel, windows } = problem;
  require(planes * height * width * windows[0] * windows[1] > 0, 'avgPool2d', 'no empty dimension', problem);
  return perElement({
    name: 'avgPool2d.forward',
    n: planes * windows[0] * windows[1],
    type: 'f32',
    inputs: [input('x')],
    uniforms: uniformsOf(problem),
    functions: /* wgsl */ `${countWgsl}
fn element(at: u32) -> f32 {
  let down = at / params.windows_across;
  let window = vec2u(down % params.windows_down, at % params.windows_across);
  let pixels = pixels_of(window);
  let image = down / params.windows_down * params.height * params.width;
  var total = 0.0;
  for (var row = pixels.x; row < pixels.y; row++) {
    for (var column = pixels.z; column < pixels.w; column++) {
      total += x[image + u32(row) * params.width + u32(column)];
    }
  }
  return total / count_of(window);
}
`,
    flopsPerElement: kernel[0] * kernel[1] + 1,
    sharedBytes: (4 * height * width) / (windows[0] * windows[1]),
  });
});

/** Bindings dy, y (which is dx). */
export const avgPool2dGradient = pointwise<AvgPool2dProblem>('avgPool2d.backward', (problem) => {
  const { planes, height, width, kernel, stride, windows } = problem;
  return perElement({
    name: 'avgPool2d.backward',
    n: planes * height * width,
    type: 'f32',
    inputs: [input('dy')],
    uniforms: uniformsOf(problem),
    functions: /* wgsl */ `${countWgsl}
fn element(at: u32) -> f32 {
  let line = at / params.width;
  let plane = line / params.height;
  let windows = windows_of(vec2u(line % params.height, at % params.width));
  var total = 0.0;
  for (var down = windows.x; down < windows.y; down++) {
    for (var across = windows.z; across < windows.w; across++) {
      total += dy[(plane * params.windows_down + down) * params.windows_across + across] / count_of(vec2u(down, across));
    }
  }
  return total;
}
`,
    flopsPerElement: 2 * Math.ceil(kernel[0] / stride[0]) * Math.ceil(kernel[1] / stride[1]),
    sharedBytes: (4 * windows[0] * windows[1]) / (height * width),
  });
});
