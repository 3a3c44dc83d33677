/**
 * The two passes of resizing. A weight w of 22 fractional bits is given as two halves of 16 bits, w = high * 2^11 + low, so
 * that one instruction multiplies two inputs by their weights and adds: sum(w p) = 2^11 sum(high p) + sum(low p), exactly.
 *
 * Coefficients: for each output two i32 (first input, pairs of inputs), then `stride` pairs of i32: the high halves of two
 * weights, and the low halves. An odd last input has a partner of weight 0.
 */
const HALF: i32 = 1 << 21;
const PRECISION: i32 = 22;

/** Bytes of one output's coefficients. */
function coefficientBytes(stride: i32): usize {
  return 8 + ((<usize>stride) << 3);
}

/** Three bytes and no more: the next belong to a row that is made at the same time. */
function storePixel(out: usize, rgb: u32): void {
  store<u16>(out, <u16>rgb);
  store<u8>(out, <u8>(rgb >> 16), 2);
}

/** The horizontal pass: rows of `sourceWidth` RGB pixels to rows of `width`. */
export function resizeColumns(
  source: usize,
  sourceWidth: i32,
  rows: i32,
  out: usize,
  width: i32,
  coefficients: usize,
  stride: i32,
): void {
  // Of the bytes RGBRGB of two pixels: R R G G B B, each widened to 16 bits (the top bit of an index gives 0).
  const pairs = i8x16(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
  const half = i32x4.splat(HALF);
  const bytes = coefficientBytes(stride);
  const line = <usize>(sourceWidth * 3);
  const outLine = <usize>(width * 3);
  // Four rows at a time, so that each weight is loaded once for all; of the last rows some are done twice.
  for (let y = 0; y < rows; y += 4) {
    const row0 = source + y * line;
    const row1 = source + min(y + 1, rows - 1) * line;
    const row2 = source + min(y + 2, rows - 1) * line;
    const row3 = source + min(y + 3, rows - 1) * line;
    let out0 = out + y * outLine;
    let out1 = out + min(y + 1, rows - 1) * outLine;
    let out2 = out + min(y + 2, rows - 1) * outLine;
    let out3 = out + min(y + 3, rows - 1) * outLine;
    let at = coefficients;
    for (let x = 0; x < width; x++) {
      let pixel = <usize>(load<i32>(at) * 3);
      let high0 = i32x4.splat(0);
      let high1 = high0;
      let high2 = high0;
      let high3 = high0;
      let low0 = half;
      let low1 = half;
      let low2 = half;
      let low3 = half;
      const end = at + 8 + ((<usize>load<i32>(at, 4)) << 3);
      for (let weight = at + 8; weight < end; weight += 8, pixel += 6) {
        const highs = v128.load32_splat(weight);
        const lows = v128.load32_splat(weight, 4);
        const two0 = v128.swizzle(v128.load(row0 + pixel), pairs);
        const two1 = v128.swizzle(v128.load(row1 + pixel), pairs);
        const two2 = v128.swizzle(v128.load(row2 + pixel), pairs);
        const two3 = v128.swizzle(v128.load(row3 + pixel), pairs);
        high0 = i32x4.add(high0, i32x4.dot_i16x8_s(two0, highs));
        high1 = i32x4.add(high1, i32x4.dot_i16x8_s(two1, highs));
        high2 = i32x4.add(high2, i32x4.dot_i16x8_s(two2, highs));
        high3 = i32x4.add(high3, i32x4.dot_i16x8_s(two3, highs));
        low0 = i32x4.add(low0, i32x4.dot_i16x8_s(two0, lows));
        low1 = i32x4.add(low1, i32x4.dot_i16x8_s(two1, lows));
        low2 = i32x4.add(low2, i32x4.dot_i16x8_s(two2, lows));
        low3 = i32x4.add(low3, i32x4.dot_i16x8_s(two3, lows));
      }
      const upper = i16x8.narrow_i32x4_s(rounded(high0, low0), rounded(high1, low1));
      const lower = i16x8.narrow_i32x4_s(rounded(high2, low2), rounded(high3, low3));
      const four = i8x16.narrow_i16x8_u(upper, lower);
      storePixel(out0, <u32>i32x4.extract_lane(four, 0));
      storePixel(out1, <u32>i32x4.extract_lane(four, 1));
      storePixel(out2, <u32>i32x4.extract_lane(four, 2));
      storePixel(out3, <u32>i32x4.extract_lane(four, 3));
      out0 += 3;
      out1 += 3;
      out2 += 3;
      out3 += 3;
      at += bytes;
    }
  }
}

/** The vertical pass: rows of `rowBytes` bytes to `height` such rows. */
export function resizeRows(
  source: usize,
  rowBytes: i32,
  out: usize,
  height: i32,
  coefficients: usize,
  stride: i32,
): void {
  const half = i32x4.splat(HALF);
  const bytes = coefficientBytes(stride);
  let at = coefficients;
  for (let y = 0; y < height; y++) {
    const top = source + <usize>(load<i32>(at) * rowBytes);
    const end = at + 8 + ((<usize>load<i32>(at, 4)) << 3);
    for (let x = 0; x < rowBytes; x += 16) {
      let high0 = i32x4.splat(0);
      let high1 = high0;
      let high2 = high0;
      let high3 = high0;
      let low0 = half;
      let low1 = half;
      let low2 = half;
      let low3 = half;
      let line = top + x;
      for (let weight = at + 8; weight < end; weight += 8) {
        const upper = v128.load(line);
        const lower = v128.load(line + rowBytes);
        const left = v128.shuffle<i8>(upper, lower, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        const right = v128.shuffle<i8>(upper, lower, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        const two0 = i16x8.extend_low_i8x16_u(left);
        const two1 = i16x8.extend_high_i8x16_u(left);
        const two2 = i16x8.extend_low_i8x16_u(right);
        const two3 = i16x8.extend_high_i8x16_u(right);
        const highs = v128.load32_splat(weight);
        const lows = v128.load32_splat(weight, 4);
        high0 = i32x4.add(high0, i32x4.dot_i16x8_s(two0, highs));
        high1 = i32x4.add(high1, i32x4.dot_i16x8_s(two1, highs));
        high2 = i32x4.add(high2, i32x4.dot_i16x8_s(two2, highs));
        high3 = i32x4.add(high3, i32x4.dot_i16x8_s(two3, highs));
        low0 = i32x4.add(low0, i32x4.dot_i16x8_s(two0, lows));
        low1 = i32x4.add(low1, i32x4.dot_i16x8_s(two1, lows));
        low2 = i32x4.add(low2, i32x4.dot_i16x8_s(two2, lows));
        low3 = i32x4.add(low3, i32x4.dot_i16x8_s(two3, lows));
        line += rowBytes << 1;
      }
      const left = i16x8.narrow_i32x4_s(rounded(high0, low0), rounded(high1, low1));
      const right = i16x8.narrow_i32x4_s(rounded(high2, low2), rounded(high3, low3));
      v128.store(out + x, i8x16.narrow_i16x8_u(left, right));
    }
    out += rowBytes;
    at += bytes;
  }
}

function rounded(high: v128, low: v128): v128 {
  return i32x4.shr_s(i32x4.add(i32x4.shl(high, 11), low), PRECISION);
}
