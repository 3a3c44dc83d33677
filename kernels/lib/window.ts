/** A window that slides over images [planes, height, width], as pooling has it. */
import { u32 } from './kernel.ts';

export interface WindowProblem {
  /** Images times channels. */
  planes: number;
  height: number;
  width: number;
  kernel: readonly [height: number, width: number];
  stride: readonly [height: number, width: number];
  padding: readonly [height: number, width: number];
  /** Pixels from one element of the window to the next. */
  dilation: readonly [height: number, width: number];
  /** Windows down and across; the last ones may reach beyond the padding. */
  windows: readonly [down: number, across: number];
}

export const windowUniforms = ({ height, width, kernel, stride, padding, dilation, windows }: WindowProblem) => ({
  height: u32(height),
  width: u32(width),
  kernel_height: u32(kernel[0]),
  kernel_width: u32(kernel[1]),
  stride_height: u32(stride[0]),
  stride_width: u32(stride[1]),
  padding_height: u32(padding[0]),
  padding_width: u32(padding[1]),
  dilation_height: u32(dilation[0]),
  dilation_width: u32(dilation[1]),
  windows_down: u32(windows[0]),
  windows_across: u32(windows[1]),
});

/**
 * WGSL `pixels_of(window: vec2u) -> vec4i`: first and end row, first and end column of a window, inside the image, of which every
 * dilation-th is of the window; and `windows_of(pixel: vec2u) -> vec4u`: likewise of the windows that a pixel lies in, or between
 * whose elements it lies.
 */
export const windowWgsl = /* wgsl */ `
fn reach_of_window() -> vec2u {
  return (vec2u(params.kernel_height, params.kernel_width) - 1u) * vec2u(params.dilation_height, params.dilation_width) + 1u;
}
fn pixels_of(window: vec2u) -> vec4i {
  let first = vec2i(window * vec2u(params.stride_height, params.stride_width)) -
    vec2i(i32(params.padding_height), i32(params.padding_width));
  let end = min(first + vec2i(reach_of_window()), vec2i(i32(params.height), i32(params.width)));
  let dilation = vec2i(i32(params.dilation_height), i32(params.dilation_width));
  // Elements before the image are left out.
  let inside = first + max((dilation - 1 - first) / dilation, vec2i(0)) * dilation;
  return vec4i(inside.x, end.x, inside.y, end.y);
}
fn windows_of(pixel: vec2u) -> vec4u {
  let at = pixel + vec2u(params.padding_height, params.padding_width);
  let reach = reach_of_window();
  let stride = vec2u(params.stride_height, params.stride_width);
  // The first window that still reaches the pixel.
  let first = select((at - min(at, reach - 1u) + stride - 1u) / stride, vec2u(0u), at < reach);
  let end = min(at / stride + 1u, vec2u(params.windows_down, params.windows_across));
  return vec4u(first.x, end.x, first.y, end.y);
}
`;
