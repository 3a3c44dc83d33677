/** Kernels that see one pixel (sharpening: its neighbours) at a time, and counts over all pixels. RGB, three bytes a pixel. */

/** Every byte through the table of its channel: 3 x 256 bytes. In place where `out` is `source`. */
export function lookUp(source: usize, out: usize, pixels: i32, tables: usize): void {
  for (const end = source + <usize>(pixels * 3); source < end; source += 3) {
    store<u8>(out, load<u8>(tables + load<u8>(source)));
    store<u8>(out, load<u8>(tables + load<u8>(source, 1), 256), 1);
    store<u8>(out, load<u8>(tables + load<u8>(source, 2), 512), 2);
    out += 3;
  }
}

/** Counts of the 256 levels of each channel: 3 x 256 u32. */
export function histogram(source: usize, pixels: i32, counts: usize): void {
  memory.fill(counts, 0, 3072);
  for (const end = source + <usize>(pixels * 3); source < end; source += 3) {
    for (let c: usize = 0; c < 3; c++) {
      const at = counts + (c << 10) + ((<usize>load<u8>(source + c)) << 2);
      store<u32>(at, load<u32>(at) + 1);
    }
  }
}

/** Luma as Pillow rounds it: (19595 R + 38470 G + 7471 B + 2^15) / 2^16. Fits in u32. */
function luma(red: u32, green: u32, blue: u32): u32 {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

export function lumaSum(source: usize, pixels: i32): f64 {
  let sum: u64 = 0;
  for (const end = source + <usize>(pixels * 3); source < end; source += 3) {
    sum += luma(load<u8>(source), load<u8>(source, 1), load<u8>(source, 2));
  }
  return <f64>sum;
}

/** from + alpha (level - from) in single precision, clipped and truncated. */
function blend(level: v128, from: v128, alpha: v128): v128 {
  const sum = f32x4.add(from, f32x4.mul(alpha, f32x4.sub(level, from)));
  return i32x4.trunc_sat_f32x4_s(f32x4.pmin(f32x4.pmax(sum, f32x4.splat(0)), f32x4.splat(255)));
}

/** Saturation: a blend with the luma of each pixel. */
export function adjustColor(source: usize, out: usize, pixels: i32, factor: f32): void {
  const alpha = f32x4.splat(factor);
  for (let i = 0; i < pixels; i += 4) {
    const four = v128.load(source);
    const red = v128.swizzle(four, i8x16(0, -1, -1, -1, 3, -1, -1, -1, 6, -1, -1, -1, 9, -1, -1, -1));
    const green = v128.swizzle(four, i8x16(1, -1, -1, -1, 4, -1, -1, -1, 7, -1, -1, -1, 10, -1, -1, -1));
    const blue = v128.swizzle(four, i8x16(2, -1, -1, -1, 5, -1, -1, -1, 8, -1, -1, -1, 11, -1, -1, -1));
    const weighted = i32x4.add(
      i32x4.add(i32x4.mul(red, i32x4.splat(19595)), i32x4.mul(green, i32x4.splat(38470))),
      i32x4.add(i32x4.mul(blue, i32x4.splat(7471)), i32x4.splat(0x8000)),
    );
    const grey = f32x4.convert_i32x4_s(i32x4.shr_u(weighted, 16));
    const newRed = blend(f32x4.convert_i32x4_s(red), grey, alpha);
    const newGreen = blend(f32x4.convert_i32x4_s(green), grey, alpha);
    const newBlue = blend(f32x4.convert_i32x4_s(blue), grey, alpha);
    const packed = v128.or(newRed, v128.or(i32x4.shl(newGreen, 8), i32x4.shl(newBlue, 16)));
    v128.store(out, v128.swizzle(packed, i8x16(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1)));
    source += 12;
    out += 12;
  }
}

/** Four bytes as f32. */
function levels(at: usize): v128 {
  const spread = i8x16(0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1);
  return f32x4.convert_i32x4_s(v128.swizzle(v128.load32_zero(at), spread));
}

/** One row of the filter, in Pillow's order of sums. */
function filterRow(at: usize, edge: v128, center: v128): v128 {
  const left = f32x4.add(f32x4.mul(levels(at - 3), edge), f32x4.mul(levels(at), center));
  return f32x4.add(left, f32x4.mul(levels(at + 3), edge));
}

/**
 * Sharpness: a blend with the image smoothed by (1 1 1; 1 5 1; 1 1 1) / 13, in Pillow's order of single-precision sums; what
 * is smoothed at the border is the image itself. `out` must not be `source`.
 */
export function sharpen(source: usize, out: usize, width: i32, height: i32, factor: f32): void {
  const alpha = f32x4.splat(factor);
  const edge = f32x4.splat(<f32>(1.0 / 13.0));
  const center = f32x4.splat(<f32>(5.0 / 13.0));
  const stride = <usize>(width * 3);
  memory.copy(out, source, stride * height);
  for (let y = 1; y < height - 1; y++) {
    const line = stride * y;
    for (let x: usize = 3; x < stride - 3; x += 4) {
      const at = source + line + x;
      const below = f32x4.add(f32x4.splat(0.5), filterRow(at + stride, edge, edge));
      const sum = f32x4.add(f32x4.add(below, filterRow(at, edge, center)), filterRow(at - stride, edge, edge));
      const smooth = i32x4.trunc_sat_f32x4_s(f32x4.pmin(sum, f32x4.splat(255)));
      const result = blend(levels(at), f32x4.convert_i32x4_s(smooth), alpha);
      const bytes = v128.swizzle(result, i8x16(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
      v128.store32_lane(out + line + x, bytes, 0);
    }
    // The last four may have reached into the right border.
    for (let b = line + stride - 3; b < line + stride; b++) store<u8>(out + b, load<u8>(source + b));
  }
}

/** The image mirrored left to right. `out` must not be `source`. */
export function flip(source: usize, out: usize, width: i32, height: i32): void {
  const stride = <usize>(width * 3);
  for (let y = 0; y < height; y++) {
    let to = out + stride * (y + 1) - 3;
    for (const end = source + stride; source < end; source += 3) {
      store<u16>(to, load<u16>(source));
      store<u8>(to, load<u8>(source, 2), 2);
      to -= 3;
    }
  }
}

/** Pixels to three planes of f32 through a table a channel: 3 x 256 f32. */
export function planes(source: usize, pixels: i32, out: usize, tables: usize): void {
  const plane = (<usize>pixels) << 2;
  for (const end = source + <usize>(pixels * 3); source < end; source += 3) {
    store<f32>(out, load<f32>(tables + ((<usize>load<u8>(source)) << 2)));
    store<f32>(out + plane, load<f32>(tables + ((<usize>load<u8>(source, 1)) << 2), 1024));
    store<f32>(out + (plane << 1), load<f32>(tables + ((<usize>load<u8>(source, 2)) << 2), 2048));
    out += 4;
  }
}

export function copy(source: usize, out: usize, bytes: i32): void {
  memory.copy(out, source, bytes);
}
