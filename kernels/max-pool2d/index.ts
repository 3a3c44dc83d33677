/**
 * y[p, i, j] = the largest pixel of window (i, j) of image p, and `index`, where that is in the image: row times width plus
 * column, as PyTorch counts. Of equal pixels the first is taken, and NaN is larger than everything. Padding never is the largest.
 *
 * Gradient, written: dx of a pixel = the sum of dy over the windows that took it, which each pixel looks up by itself.
 *
 * Cost: each window is read once, each pixel looks into the windows that it lies in. `deit kernel max_pool2d` shows the kernels.
 */
import { pointwise } from '../lib/elementwise.ts';
import { input, require } from '../lib/kernel.ts';
import { orderWgsl } from '../lib/math.ts';
import { perElement } from '../lib/per-element.ts';
import { windowUniforms, windowWgsl } from '../lib/window.ts';
import type { WindowProblem } from '../lib/window.ts';

/** Bindings x, y (which is `index`, i32). */
export const maxPool2dIndex = pointwise<WindowProblem>('maxPool2d.forward', (problem) => {
  const { planes, height, width, kernel, windows } = problem;
  require(planes * height * width * windows[0] * windows[1] > 0, 'maxPool2d', 'no empty dimension', problem);
  return perElement({
    name: 'maxPool2d.forward',
    n: planes * windows[0] * windows[1],
    type: 'i32',
    inputs: [input('x', 'u32')],
    uniforms: windowUniforms(problem),
    functions: /* wgsl */ `${windowWgsl}${orderWgsl}
fn element(at: u32) -> i32 {
  let down = at / params.windows_across;
  let pixels = pixels_of(vec2u(down % params.windows_down, at % params.windows_across));
  let image = down / params.windows_down * params.height * params.width;
  var best = 0u;
  var best_index = pixels.x * i32(params.width) + pixels.z;
  for (var row = pixels.x; row < pixels.y; row += i32(params.dilation_height)) {
    for (var column = pixels.z; column < pixels.w; column += i32(params.dilation_width)) {
      let index = row * i32(params.width) + column;
      let candidate = order(x[image + u32(index)]);
      if (candidate > best) { best = candidate; best_index = index; }
    }
  }
  return best_index;
}
`,
    flopsPerElement: kernel[0] * kernel[1],
    sharedBytes: (4 * height * width) / (windows[0] * windows[1]),
  });
});

/** Bindings dy, index, y (which is dx). */
export const maxPool2dGradient = pointwise<WindowProblem>('maxPool2d.backward', (problem) => {
  const { planes, height, width, kernel, stride, windows } = problem;
  return perElement({
    name: 'maxPool2d.backward',
    n: planes * height * width,
    type: 'f32',
    inputs: [input('dy'), input('index', 'i32')],
    uniforms: windowUniforms(problem),
    functions: /* wgsl */ `${windowWgsl}
fn element(at: u32) -> f32 {
  let line = at / params.width;
  let row = line % params.height;
  let column = at % params.width;
  let plane = line / params.height;
  let windows = windows_of(vec2u(row, column));
  let own = i32(row * params.width + column);
  var total = 0.0;
  for (var down = windows.x; down < windows.y; down++) {
    for (var across = windows.z; across < windows.w; across++) {
      let source = (plane * params.windows_down + down) * params.windows_across + across;
      if (index[source] == own) { total += dy[source]; }
    }
  }
  return total;
}
`,
    flopsPerElement: Math.ceil(kernel[0] / stride[0]) * Math.ceil(kernel[1] / stride[1]),
    sharedBytes: (8 * windows[0] * windows[1]) / (height * width),
  });
});
