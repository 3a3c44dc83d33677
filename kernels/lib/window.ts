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
  /** Windows down and across. */
  windows: readonly [down: number, across: number];
}

export const windowUniforms = ({ height, width, kernel, stride, padding, windows }: WindowProblem) => ({
  height: u32(height),
  width: u32(width),
  kernel_height: u32(kernel[0]),
  kernel_width: u32(kernel[1]),
  stride_height: u32(stride[0]),
  stride_width: u32(stride[1]),
  padding_height: u32(padding[0]),
  padding_width: u32(padding[1]),
  windows_down: u32(windows[0]),
  windows_across: u32(windows[1]),
});

/**
 * WGSL `pixels_of(window: vec2u) -> vec4i`: first and end row, first and end column of a window, inside the image; and
 * `windows_of(pixel: vec2u) -> vec4u`: likewise of the windows that a pixel lies in.
 */
export const windowWgsl = /* wgsl */ `
fn pixels_of(window: vec2u) -> vec4i {
  let first = vec2i(window * vec2u(params.stride_height, params.stride_width)) -
    vec2i(i32(params.padding_height), i32(params.padding_width));
  let end = min(first + vec2i(i32(params.kernel_height), i32(params.kernel_width)), vec2i(i32(params.height), i32(params.width)));
  let inside = max(first, vec2i(0));
  return vec4i(inside.x, end.x, inside.y, end.y);
}
fn windows_of(pixel: vec2u) -> vec4u {
  let at = pixel + vec2u(params.padding_height, params.padding_width);
  let kernel = vec2u(params.kernel_height, params.kernel_width);
  let stride = vec2u(params.stride_height, params.stride_width);
  // The first window that still reaches the pixel.
  let first = select((at - min(at, kernel - 1u) + stride - 1u) / stride, vec2u(0u), at < kernel);
  let end = min(at / stride + 1u, vec2u(params.windows_down, params.windows_across));
  return vec4u(first.x, end.x, first.y, end.y);
}
`;
